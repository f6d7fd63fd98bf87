"""What people read: post-mortems, breaches, deaths."""
