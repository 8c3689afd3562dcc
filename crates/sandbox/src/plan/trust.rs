//! Where programs look for authorities without being told. With a way out, the only one there is its authority: nothing else can be
//! reached.

use std::{collections::BTreeSet, io, path::Path};

use casemate_ports::{WAY_OUT_AUTHORITY, WAY_OUT_KEYSTORE};

use super::{Step, c};

/// Where the systems on which we run have them, and in which form. Programs know the others' places too.
const STORES: &[(&str, &str)] = &[
    // Debian and Ubuntu: GnuTLS, Go, curl, git; and Java.
    ("etc/ssl/certs/ca-certificates.crt", WAY_OUT_AUTHORITY),
    ("etc/ssl/certs/java/cacerts", WAY_OUT_KEYSTORE),
    // The directory of OpenSSL: by the hash of the name that every authority of ours has.
    ("etc/ssl/certs/fcc01c93.0", WAY_OUT_AUTHORITY),
    // Alpine.
    ("etc/ssl/cert.pem", WAY_OUT_AUTHORITY),
    // Fedora and its kin.
    ("etc/pki/tls/cert.pem", WAY_OUT_AUTHORITY),
    ("etc/pki/tls/certs/ca-bundle.crt", WAY_OUT_AUTHORITY),
    (
        "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        WAY_OUT_AUTHORITY,
    ),
    ("etc/pki/java/cacerts", WAY_OUT_KEYSTORE),
];

/// Makes the stores, each a link to the authority.
pub(super) fn stores(steps: &mut Vec<Step>) -> io::Result<()> {
    let mut made = BTreeSet::from([Path::new(""), Path::new("etc")]);
    for (store, authority) in STORES {
        let above: Vec<_> = Path::new(store).ancestors().skip(1).collect();
        for directory in above.into_iter().rev() {
            if made.insert(directory) {
                let path = c(directory.as_os_str().as_encoded_bytes())?;
                steps.push(Step::Directory(path, 0o755));
            }
        }
        steps.push(Step::Link(c(*authority)?, c(*store)?));
    }
    Ok(())
}
