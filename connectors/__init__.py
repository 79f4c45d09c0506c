"""What known tools post, translated into events: payload in, events out; no database, no clock, no HTTP."""
