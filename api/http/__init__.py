"""HTTP's own matters, the same for every resource: parameters, bodies, headers, conditional requests, compression."""
