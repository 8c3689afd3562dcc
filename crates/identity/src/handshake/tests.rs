use ::aws_lc_rs::signature;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::Form;

/// A key and a certificate for it, in PEM.
fn made() -> (String, String) {
    certified(&rcgen::KeyPair::generate().unwrap())
}

fn certified(key: &rcgen::KeyPair) -> (String, String) {
    let params = rcgen::CertificateParams::new(vec!["agent.example".to_owned()]).unwrap();
    let certificate = params.self_signed(key).unwrap();
    let pem = |what: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
    };
    (
        pem("PRIVATE KEY", &key.serialize_der()),
        pem("CERTIFICATE", certificate.der()),
    )
}

fn secret(pem: &str) -> Secret {
    Secret::read(pem.as_bytes(), Form::Pem).unwrap()
}

fn message(front: &[u8], digest: usize) -> Vec<u8> {
    [&[b' '; SPACES][..], front, &vec![7; digest]].concat()
}

/// R88: a key comes with its own certificate, in whatever order they are in the file.
#[test]
fn a_key_comes_with_its_certificate() {
    let ((key, certificate), (_, other)) = (made(), made());
    for both in [format!("{key}{certificate}"), format!("{certificate}{key}")] {
        let (certificates, is_rsa) = check(&secret(&both)).unwrap();
        assert_eq!((certificates.len(), is_rsa), (1, false));
    }
    for wrong in [
        key.clone(),
        certificate,
        format!("{key}{other}"),
        format!("{key}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        assert!(check(&secret(&wrong)).is_err(), "{}", wrong.len());
    }
}

/// R88: a key of RSA signs as TLS 1.3 has it (PSS), what its certificate proves, and in no older way.
#[test]
fn a_key_of_rsa_signs() {
    let size = rcgen::RsaKeySize::_2048;
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
    let (key, certificate) = certified(&pair);
    let pem = secret(&format!("{key}{certificate}"));
    let (certificates, is_rsa) = check(&pem).unwrap();
    assert_eq!((certificates.len(), is_rsa), (1, true));
    let message = message(FRONT, 32);
    let (_, schemes) = SCHEMES.split_first().unwrap();
    let ways: [&dyn signature::VerificationAlgorithm; 3] = [
        &signature::RSA_PSS_2048_8192_SHA256,
        &signature::RSA_PSS_2048_8192_SHA384,
        &signature::RSA_PSS_2048_8192_SHA512,
    ];
    assert_eq!(schemes.len(), ways.len());
    for (scheme, way) in schemes.iter().zip(ways) {
        let signed = sign(&pem, u16::from(*scheme), &message).unwrap();
        let public = signature::UnparsedPublicKey::new(way, pair.public_key_raw());
        public.verify(&message, &signed).unwrap();
        assert!(public.verify(b"another", &signed).is_err());
    }
    for scheme in [
        SignatureScheme::RSA_PKCS1_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ] {
        let signed = sign(&pem, u16::from(scheme), &message);
        assert!(matches!(signed, Err(HandshakeError::Key)), "{scheme:?}");
    }
}

/// R79, I2: whoever may ask for signatures gets them of handshakes of a client, and of nothing else: not of a server's, not of a token, not of a digest.
#[test]
fn only_handshakes_are_signed() {
    let (key, certificate) = made();
    let pem = secret(&format!("{key}{certificate}"));
    let p256 = u16::from(SignatureScheme::ECDSA_NISTP256_SHA256);
    for digest in DIGESTS {
        assert!(
            !sign(&pem, p256, &message(FRONT, digest))
                .unwrap()
                .is_empty()
        );
    }
    let mut tab = message(FRONT, 32);
    tab[3] = b'\t';
    for wrong in [
        message(b"TLS 1.3, server CertificateVerify\0", 32),
        message(FRONT, 31),
        message(FRONT, 0),
        message(b"", 32),
        [7; 32].to_vec(),
        FRONT.to_vec(),
        Vec::new(),
        tab,
    ] {
        let signed = sign(&pem, p256, &wrong);
        assert!(matches!(signed, Err(HandshakeError::Message)), "{wrong:?}");
    }
    for scheme in [
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PKCS1_SHA256,
        SignatureScheme::ECDSA_SHA1_Legacy,
        SignatureScheme::Unknown(0),
    ] {
        let signed = sign(&pem, u16::from(scheme), &message(FRONT, 32));
        assert!(matches!(signed, Err(HandshakeError::Key)), "{scheme:?}");
    }
}
