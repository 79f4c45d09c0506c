"""How the parts are put together and run: settings, database, processes, command line."""
