"""Does what was decided: the life of one deploy, and the hands it uses."""
