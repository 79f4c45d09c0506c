"""The header fields of every answer, of the application and of the server before it."""

REQUEST_ID = "X-Request-ID"

# From OWASP's REST security cheat sheet: an API's answers are data, not to be sniffed, framed or stored.
SECURITY = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
