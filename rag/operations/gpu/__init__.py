"""Health of the GPUs of a process, by NVML."""
