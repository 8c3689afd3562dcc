//! squid with ssl-bump: it looks at the server name, then intercepts. Its rules are those of its manual for the same policy.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::{
    Failure,
    peer::{Peer, Rules},
};

const CERTGEN: &str = "/usr/lib/squid/security_file_certgen";
/// Who it becomes: it does not run as root.
const USER: &str = "proxy";
/// What no allowed name may lead to, except to the one on this machine.
const PRIVATE: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4 ::1/128 fc00::/7 fe80::/10 fec0::/10 ff00::/8";

pub(crate) fn start(rules: &Rules<'_>) -> Result<Peer, Failure> {
    let directory = rules.directory.to_str().ok_or("no path")?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
        .distinguished_name
        .push(DnType::CommonName, "squid of the corpus");
    let authority = rules.directory.join("authority.pem");
    let certificate = params.self_signed(&key)?;
    fs::write(&authority, casemate_attacks::pem(certificate.der()))?;
    let key = String::from_utf8(casemate_attacks::pem(&key.serialize_der()))?;
    let key = key.replace("CERTIFICATE", "PRIVATE KEY");
    fs::write(rules.directory.join("authority.key"), key)?;
    let certs = rules.directory.join("certs");
    let made = Command::new(CERTGEN)
        .args(["-c", "-s"])
        .arg(&certs)
        .args(["-M", "4MB"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !made.success() {
        return Err("no squid with ssl-bump".into());
    }
    // One list for each name, so that no port is another's.
    let mut lists = String::new();
    for (at, (name, port)) in rules.allowed.iter().enumerate() {
        lists += &format!(
            "acl n{at} dstdomain -n {name}\nacl p{at} port {port}\n\
             http_access allow n{at} p{at} CONNECT\nhttp_access allow n{at} p{at} secure\n"
        );
    }
    let config = format!(
        "visible_hostname squid.test\n\
         http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=4MB cert={directory}/authority.pem key={directory}/authority.key\n\
         sslcrtd_program {CERTGEN} -s {directory}/certs -M 4MB\nsslcrtd_children 4 startup=1 idle=1\n\
         acl step1 at_step SslBump1\nssl_bump peek step1\nssl_bump bump all\n\
         acl here dstdomain -n good.test\nacl plain port {plain}\nacl secure proto HTTPS\nacl CONNECT method CONNECT\nacl private dst {PRIVATE}\n\
         acl methods method GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT\nhttp_access deny !methods\nhttp_access deny private !here\n\
         {lists}http_access allow here plain !CONNECT\nhttp_access deny all\nhttp_upgrade_request_protocols websocket allow all\n\
         tls_outgoing_options cafile={roots}\ncache deny all\naccess_log none\ncache_log {directory}/cache.log\npid_filename {directory}/squid.pid\n\
         coredump_dir {directory}\ndns_nameservers 127.0.0.1\ndns_timeout 1 seconds\nshutdown_lifetime 0 seconds\ncache_effective_user {USER}\n\
         via off\nforwarded_for delete\nconnect_timeout 2 seconds\npinger_enable off\nnetdb_filename none\n",
        port = rules.port,
        plain = rules.plain,
        roots = rules.roots.display(),
    );
    let path = rules.directory.join("squid.conf");
    fs::write(&path, config)?;
    Command::new("chown")
        .args(["-R", USER])
        .arg(rules.directory)
        .status()?;
    let mut command = Command::new("squid");
    command
        .args(["-N", "-f"])
        .arg(path)
        .stderr(Stdio::null())
        .process_group(0);
    Peer::start("squid", command, rules, &authority)
}
