"""What a trained network looks at: Grad-CAM, and the features before its head."""
