"""What the numbers mean, as pure functions of events: no database, no clock."""
