//! Patterns of host names, as tables that are compiled in have them.

/// A label is itself, or begins as what stands before `*`; at the front `**` is one or more of any.
pub(super) fn matches(pattern: &str, host: &str) -> bool {
    let mut labels = host.rsplit('.');
    for part in pattern.rsplit('.') {
        match (part, labels.next()) {
            (_, None) => return false,
            ("**", Some(_)) => return true,
            (part, Some(label)) if is_label(part, label) => {}
            _ => return false,
        }
    }
    labels.next().is_none()
}

/// Whether a host can be both below `suffix` and of `pattern`.
pub(super) fn meets_below(pattern: &str, suffix: &str) -> bool {
    let mut parts = pattern.rsplit('.');
    for label in suffix.rsplit('.') {
        match parts.next() {
            None => return false,
            Some("**") => return true,
            Some(part) if is_label(part, label) => {}
            Some(_) => return false,
        }
    }
    // Something has to be left of the suffix.
    parts.next().is_some()
}

fn is_label(part: &str, label: &str) -> bool {
    match part.strip_suffix('*') {
        Some(start) => label.starts_with(start),
        None => part == label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_label_by_label() {
        for (pattern, host) in [
            ("a.b", "a.b"),
            ("*.b", "a.b"),
            ("s3.*.b", "s3.eu.b"),
            ("s3-*.b", "s3-eu.b"),
            ("**.s3.b", "x.s3.b"),
            ("**.s3.b", "x.y.s3.b"),
        ] {
            assert!(matches(pattern, host), "{pattern} {host}");
        }
        for (pattern, host) in [
            ("a.b", "x.a.b"),
            ("a.b", "b"),
            ("*.b", "b"),
            ("*.b", "x.a.b"),
            ("**.s3.b", "s3.b"),
            ("s3.*.b", "s3.b"),
            ("s3-*.b", "s3.b"),
        ] {
            assert!(!matches(pattern, host), "{pattern} {host}");
        }
        for (pattern, suffix) in [
            ("a.b", "b"),
            ("*.a.b", "a.b"),
            ("**.a.b", "x.a.b"),
            ("**.a.b", "b"),
            ("*.b", "b"),
            ("s3.*.b", "eu.b"),
        ] {
            assert!(meets_below(pattern, suffix), "{pattern} {suffix}");
        }
        for (pattern, suffix) in [
            ("a.b", "a.b"),
            ("a.b", "c"),
            ("a.b", "x.a.b"),
            ("*.b", "a.b"),
        ] {
            assert!(!meets_below(pattern, suffix), "{pattern} {suffix}");
        }
    }
}
