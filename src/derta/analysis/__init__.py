"""What is counted and plotted: intervals, probabilities by position, summaries of records."""
