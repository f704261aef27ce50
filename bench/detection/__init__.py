"""Detection quality: which sessions a method alarms on, how early, and at what cost."""
