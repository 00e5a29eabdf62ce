//! A TCP proxy in a test's hand: it can cut a connection's two ends off from one another as a broken
//! network does, without a word to either, and it can slow them.

use std::net::TcpListener as Blocking;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Nothing passes, and nobody is told.
    Cut,
    /// Each piece is this late.
    Slow(Duration),
}

pub(crate) struct Detour {
    address: String,
    way: watch::Sender<Way>,
    _runtime: Runtime,
}

impl Detour {
    /// A way to `target` from a free address.
    pub(crate) fn to(target: &str) -> Self {
        Self::from("127.0.0.1:0", target)
    }

    /// A way from one address to another.
    pub(crate) fn from(listen: &str, target: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = Blocking::bind(listen).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let (way, seen) = watch::channel(Way::Open);
        runtime.spawn(serve(socket, target.to_owned(), seen));
        Self {
            address,
            way,
            _runtime: runtime,
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn serve(socket: Blocking, target: String, way: watch::Receiver<Way>) {
    let socket = TcpListener::from_std(socket).unwrap();
    while let Ok((near, _)) = socket.accept().await {
        tokio::spawn(join(near, target.clone(), way.clone()));
    }
}

async fn join(near: TcpStream, target: String, mut way: watch::Receiver<Way>) {
    if passes(&mut way).await.is_none() {
        return;
    }
    let Ok(far) = TcpStream::connect(&target).await else {
        return;
    };
    drop(near.set_nodelay(true));
    drop(far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = tokio::spawn(carry(near_in, far_out, way.clone()));
    let back = tokio::spawn(carry(far_in, near_out, way));
    drop(tokio::join!(there, back));
}

/// Carries what comes, until one side ends.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let Some(late) = passes(&mut way).await else {
            return;
        };
        tokio::time::sleep(late).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// Waits until the way is not cut; how late a piece is on it.
async fn passes(way: &mut watch::Receiver<Way>) -> Option<Duration> {
    let open = way.wait_for(|way| *way != Way::Cut).await.ok()?;
    match *open {
        Way::Slow(late) => Some(late),
        Way::Open | Way::Cut => Some(Duration::ZERO),
    }
}
