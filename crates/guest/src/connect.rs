//! A connection to a port of the sandbox's loopback, in place of a program.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use casemate_frames::{ExecFailure, Exited, FromGuest, MAX_CHUNK_BYTES, ToGuest};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use crate::keeper::{Keeper, write_all};

/// Nothing on a loopback takes longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects standard input and output to `port`, until the other side closes it.
pub(crate) fn serve(mut keeper: Keeper, port: u16) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
        Ok(stream) => stream,
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::CONNREFUSED);
            let errno = errno.raw_os_error().unsigned_abs();
            return keeper.send(&FromGuest::ExecFailed(ExecFailure { errno }));
        }
    };
    keeper.send(&FromGuest::Started)?;
    let socket = OwnedFd::from(stream.try_clone()?);
    loop {
        while let Some(message) = keeper.next()? {
            match message {
                ToGuest::Stdin(chunk) => {
                    if write_all(rustix::fd::AsFd::as_fd(&socket), &chunk).is_err() {
                        return end(&keeper);
                    }
                    keeper.send(&FromGuest::StdinTaken)?;
                }
                ToGuest::StdinClosed => drop(stream.shutdown(Shutdown::Write)),
                ToGuest::Signal(_) => return end(&keeper),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        let mut fds = [
            PollFd::from_borrowed_fd(keeper.socket(), PollFlags::IN),
            PollFd::new(&socket, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [control, data] = fds.map(|fd| !fd.revents().is_empty());
        if control {
            keeper.read()?;
        }
        if data {
            let mut buffer = vec![0; MAX_CHUNK_BYTES];
            match rustix::io::read(&socket, &mut buffer) {
                Ok(0) | Err(Errno::CONNRESET) => return end(&keeper),
                Ok(count) => {
                    buffer.truncate(count);
                    keeper.send(&FromGuest::Stdout(buffer))?;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn end(keeper: &Keeper) -> io::Result<()> {
    keeper.send(&FromGuest::Exited(Exited {
        code: Some(0),
        signal: None,
        cpu_us: 0,
        memory_peak_bytes: 0,
    }))
}
