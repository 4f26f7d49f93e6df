"""What happens to runs that are killed, stopped, or find no room: the same command goes on, and nothing is lost."""
