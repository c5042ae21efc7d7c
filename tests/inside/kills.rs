//! Processes killed, and power cut under a real file system.
