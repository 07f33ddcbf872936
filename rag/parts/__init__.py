"""What the composition root puts together, each part as the settings name it."""
