//! A name server that knows the names of the attacks, so that other proxies resolve them as they do.

use std::{collections::BTreeMap, net::IpAddr};

use casemate_attacks::{Case, Step};
use tokio::{net::UdpSocket, task::JoinHandle};

/// The addresses of names.
pub(crate) type Names = BTreeMap<String, Vec<IpAddr>>;

/// Every name in these cases: those that are not allowed lead to this machine, too, so that it is seen when one is dialled.
pub(crate) fn names(cases: &[Case]) -> Names {
    let here = || vec![IpAddr::from([127, 0, 0, 1])];
    let mut names = Names::from([
        ("good.test".to_owned(), here()),
        ("evil.test".to_owned(), here()),
    ]);
    for variant in cases.iter().flat_map(Case::variants) {
        for step in &variant.steps {
            let (Step::Send(text) | Step::Tunnel(text)) = step else {
                continue;
            };
            let text = text.strip_prefix("CONNECT ").unwrap_or(text);
            let host = text.split([':', ' ', '/']).next().unwrap_or_default();
            let is_name = host.contains(|char: char| char.is_ascii_alphabetic())
                && host.contains('.')
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
            if is_name {
                names.entry(host.to_ascii_lowercase()).or_insert_with(here);
            }
        }
        for (name, addresses) in variant.names {
            names.insert(name, addresses);
        }
    }
    names
}

/// Answers questions about `names`.
pub(crate) async fn serve(names: Names) -> std::io::Result<JoinHandle<()>> {
    let socket = UdpSocket::bind("127.0.0.1:53").await?;
    Ok(tokio::spawn(async move {
        let mut bytes = [0; 1_500];
        while let Ok((count, from)) = socket.recv_from(&mut bytes).await {
            if let Some(answer) = answer(&bytes[..count], &names) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }))
}

fn answer(message: &[u8], names: &Names) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let size = usize::from(*message.get(at)?);
        at += 1;
        if size == 0 {
            break;
        }
        labels.push(String::from_utf8(message.get(at..at + size)?.to_vec()).ok()?);
        at += size;
    }
    let kind = message.get(at + 1)?;
    let question = message.get(12..at + 4)?;
    let known = names.get(&labels.join(".").to_ascii_lowercase());
    let records: Vec<Vec<u8>> = known
        .into_iter()
        .flatten()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut answer = message.get(..2)?.to_vec();
    let status = if known.is_some() { 0 } else { 3 };
    answer.extend([
        0x85,
        0x80 | status,
        0,
        1,
        0,
        u8::try_from(records.len()).ok()?,
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    for record in records {
        answer.extend([0xc0, 12, 0, *kind, 0, 1, 0, 0, 0, 60, 0]);
        answer.push(u8::try_from(record.len()).ok()?);
        answer.extend(record);
    }
    Some(answer)
}
