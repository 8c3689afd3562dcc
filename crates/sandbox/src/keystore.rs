//! Authorities in the form in which Java has them (JKS): it reads no text.

use base64::Engine as _;
use sha1::{Digest as _, Sha1};

/// What a keystore begins with: its kind, and the second version of it.
const HEAD: [u8; 8] = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
/// What stands before a certificate that is trusted.
const TRUSTED: [u8; 4] = [0, 0, 0, 2];
/// The password of everybody's keystore, with which programs read this one. It protects nothing, and has not to.
const PASSWORD: &str = "changeit";
/// What the digest at the end has in it.
const SALT: &[u8] = b"Mighty Aphrodite";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A keystore of the certificates in `pem`. What is none is left out.
pub(crate) fn keystore(pem: &str) -> Vec<u8> {
    let certificates: Vec<_> = pem.split(BEGIN).skip(1).filter_map(certificate).collect();
    let mut store = HEAD.to_vec();
    store.extend(length(certificates.len()));
    for (number, certificate) in certificates.iter().enumerate() {
        store.extend(TRUSTED);
        name(&mut store, &format!("casemate-{number}"));
        // When it was put there: nobody asks.
        store.extend([0; 8]);
        name(&mut store, "X.509");
        store.extend(length(certificate.len()));
        store.extend(certificate);
    }
    let mut digest = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        digest.update(unit.to_be_bytes());
    }
    digest.update(SALT);
    digest.update(&store);
    store.extend(digest.finalize());
    store
}

/// What is between two lines, decoded.
fn certificate(after_begin: &str) -> Option<Vec<u8>> {
    let (text, _) = after_begin.split_once(END)?;
    let text: String = text.split_ascii_whitespace().collect();
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(text).ok()
}

/// An authority has 16 KiB at most: both lengths fit.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or_default().to_be_bytes()
}

fn name(store: &mut Vec<u8>, name: &str) {
    let bytes = u16::try_from(name.len()).unwrap_or_default().to_be_bytes();
    store.extend(bytes);
    store.extend(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of nobody: its key was thrown away.
    const CERTIFICATE: &str = "MIIBPDCB76ADAgECAhRjGNJrz7d+jrQvInGCKzjEzNxBXTAFBgMrZXAwEzERMA8G
        A1UEAwwIY2FzZW1hdGUwIBcNMjYxMTI4MDE1NTA4WhgPMjEyNjExMDQwMTU1MDha
        MBMxETAPBgNVBAMMCGNhc2VtYXRlMCowBQYDK2VwAyEAd1jF70EkUEAJciop5J6C
        hvsZu41d37TvIgn21Htv7HejUzBRMB0GA1UdDgQWBBQbrqUQKwX2MlXuQ4JP8db9
        mWbgrzAfBgNVHSMEGDAWgBQbrqUQKwX2MlXuQ4JP8db9mWbgrzAPBgNVHRMBAf8E
        BTADAQH/MAUGAytlcANBAKNdstGp5ZrTMeVwc/xZOdgLYLZPnhG4aZ+OGTNM2joF
        gutuGUuDbgEH/r3FoPjYLWdOfMEXnXP0nCVBkWd+QgQ=";

    /// `keytool` checked these digests with the password, and listed what is in the keystores: nothing, and a certificate twice.
    #[test]
    fn a_keystore_ends_with_the_digest_that_java_expects() {
        let one = format!("{BEGIN}\n{CERTIFICATE}\n{END}\n");
        for (pem, digest) in [
            ("", "e2686e45fb43dfa4d992dd41ceb6b21c6330d792"),
            (
                &*format!("{one}{one}"),
                "e7b23c80704bd2166c3619ce72117f79deabb083",
            ),
        ] {
            let store = keystore(pem);
            let end = &store[store.len() - 20..];
            let hex: String = end.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, digest);
        }
    }

    #[test]
    fn a_keystore_has_each_certificate() {
        let empty =
            keystore("no certificate\n-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n");
        assert_eq!(empty.len(), 8 + 4 + 20);
        assert_eq!(empty, keystore(""));
        let one = format!("{BEGIN}\nAAEC\nAwQF\n{END}\n");
        let store = keystore(&format!("{one}text{one}"));
        let entry = b"\0\0\0\x02\0\x0acasemate-1\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x06\0\x01\x02\x03\x04\x05";
        let (entries, _) = store.split_at(store.len() - 20);
        assert!(entries.ends_with(entry));
        assert_eq!(entries[8..12], [0, 0, 0, 2]);
        assert_eq!(entries.len(), 12 + 2 * entry.len());
    }
}
