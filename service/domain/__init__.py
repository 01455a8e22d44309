"""What the words mean: teeth, findings, jobs, errors. Imports the standard library only."""
