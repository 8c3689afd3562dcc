//! The sides of a call's right: who orders it, who redeems it, and who has handshakes signed. A connection is of one of them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::wire::Question;

/// What may be asked on a connection. Its first byte says so, and is its opener's to write: whoever a connection is given to then
/// can ask for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Asks for tokens, says what people approved and where the agent has been, and asks whether credentials can be used. It gets nothing that goes into a request.
    Orders,
    /// Redeems tokens, and asks for what goes into requests. It gets no token.
    Redeems,
    /// Has handshakes signed, for tickets that a lease got. Nothing else is said on it, and one after the other: whoever asks waits for the answer.
    Signs,
}

impl Side {
    const ORDERS: u8 = b'O';
    const REDEEMS: u8 = b'R';
    const SIGNS: u8 = b'S';

    /// Says on `stream` which side it is, once, before anything else.
    ///
    /// # Errors
    /// When it cannot be said.
    pub async fn announce(self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let byte = match self {
            Self::Orders => Self::ORDERS,
            Self::Redeems => Self::REDEEMS,
            Self::Signs => Self::SIGNS,
        };
        stream.write_all(&[byte]).await?;
        stream.flush().await
    }

    /// Which side the other end says it is.
    pub(crate) async fn heard(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        match stream.read_u8().await? {
            Self::ORDERS => Ok(Self::Orders),
            Self::REDEEMS => Ok(Self::Redeems),
            Self::SIGNS => Ok(Self::Signs),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Whether this side may ask that.
    pub(crate) const fn may_ask(self, question: &Question) -> bool {
        let orders = match question {
            Question::Issue { .. }
            | Question::Approve { .. }
            | Question::Learn { .. }
            | Question::Test { .. } => true,
            Question::Redeem { .. }
            | Question::Grant { .. }
            | Question::Standing { .. }
            | Question::End { .. }
            | Question::Reflected { .. } => false,
        };
        match self {
            Self::Orders => orders,
            Self::Redeems => !orders,
            Self::Signs => false,
        }
    }
}
