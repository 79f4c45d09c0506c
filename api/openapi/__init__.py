"""What the service says about itself: the OpenAPI document, and the page that shows it."""
