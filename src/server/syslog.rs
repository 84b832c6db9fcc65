//! Writes to the C library's syslog(3), which reconnects after the log daemon was restarted.

#![expect(unsafe_code, reason = "calls of syslog")]

use log::Level;
use std::ffi::CString;

/// Sets the name of the program and its facility.
pub fn open() {
    // SAFETY: the name is a string literal, which lives as long as the process, as openlog(3) requires.
    unsafe { libc::openlog(c"iipsrv".as_ptr(), libc::LOG_PID, libc::LOG_DAEMON) }
}

/// Writes a line, up to the first NUL.
pub fn write(level: Level, text: &str) {
    let priority = match level {
        Level::Error => libc::LOG_ERR,
        Level::Warn => libc::LOG_WARNING,
        Level::Info => libc::LOG_INFO,
        Level::Debug | Level::Trace => libc::LOG_DEBUG,
    };
    let text: Vec<u8> = text.bytes().take_while(|&b| b != 0).collect();
    let Ok(text) = CString::new(text) else { return };
    // SAFETY: the format takes one string, and both are terminated by a NUL and live through the call.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) }
}
