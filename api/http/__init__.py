"""HTTP for every resource: parameters, bodies, headers, conditional requests, compression."""
