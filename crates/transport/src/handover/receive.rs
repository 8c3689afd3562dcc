//! What arrived of one handover.

use casemate_model::DecisionId;
use casemate_ports::WaySockets;
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::UnixStream,
};

use super::{HandoverError, wire};

/// The sockets of one call's way out. Dropped, they are refused.
#[derive(Debug)]
pub struct HandedOver {
    /// Whose.
    pub decision: DecisionId,
    /// The sockets.
    pub sockets: WaySockets,
    /// Where the keeper waits until they are served.
    pub served: Served,
}

/// The keeper waits here.
#[derive(Debug)]
pub struct Served(UnixStream);

impl Served {
    /// Tells the keeper that the sockets are served: the program may start.
    pub async fn say(mut self) {
        // Whoever does not wait for it has given up, and closes its ends.
        let _ = self.0.write_all(&wire::SERVED).await;
    }
}

/// Reads the one message of a connection.
pub(super) async fn receive(stream: UnixStream) -> Result<HandedOver, HandoverError> {
    let read = stream.async_io(Interest::READABLE, || wire::receive(&stream));
    let (decision, descriptors) = read
        .await
        .map_err(HandoverError::Read)?
        .ok_or(HandoverError::Message)?;
    Ok(HandedOver {
        decision,
        sockets: WaySockets::of_descriptors(descriptors)?,
        served: Served(stream),
    })
}
