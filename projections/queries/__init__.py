"""What requests ask of the read models: each statement also asks who is calling and what they may see."""
