//! The system-call filter, compiled from `seccomp.toml` by build.rs.

include!(concat!(env!("OUT_DIR"), "/seccomp.rs"));

/// The name of a system call that the filter reports.
#[must_use]
pub fn name(number: u32) -> &'static str {
    NAMES
        .binary_search_by_key(&number, |(number, _)| *number)
        .ok()
        .and_then(|index| NAMES.get(index))
        .map_or("unknown", |(_, name)| name)
}

/// Whether the filter only reports this call, and the kernel may go on with it.
#[must_use]
pub fn is_watched(number: u32) -> bool {
    WATCHED.contains(&number)
}

/// Whether a report of this call is of a violation: no ordinary program makes it.
#[must_use]
pub fn is_violation(number: u32) -> bool {
    VIOLATIONS.contains(&number)
}

#[cfg(test)]
mod compile;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
