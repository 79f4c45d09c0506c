"""The service's description: the OpenAPI document, and the page that shows it."""
