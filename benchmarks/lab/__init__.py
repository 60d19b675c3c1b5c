"""The experiments of docs/lab: sweeps that ``lit-cnn sweep`` reads, and the tables and pictures made of their runs."""
