"""The header fields that every answer carries, whoever gives it: the application, or the server before it."""

REQUEST_ID = "X-Request-ID"

# What OWASP's REST security cheat sheet asks of an API: its answers are data, for nobody to sniff, frame or keep.
SECURITY = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
