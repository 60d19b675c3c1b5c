"""Layers and initialisations worth having by hand. Pure torch."""
