"""What subcommands share that write to a terminal."""
