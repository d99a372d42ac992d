"""The doors: routes, the guard before them, the server's process."""
