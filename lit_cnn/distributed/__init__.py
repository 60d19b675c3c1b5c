"""Several ranks: flags reduced over them, a watchdog that ends them together, and FSDP on CPUs and GPUs."""
