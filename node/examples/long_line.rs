//! How well one transfer stream fills a long, fat line: a relay in this process adds delay and bounds the rate.
//!
//! `cargo run --release -p shoal-node --example long_line [-- ROUND_TRIP_MS [MBIT [SECONDS]]]`. Shows what the
//! receive windows do; the kernel's own windows see only loopback.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::time::Duration;

use shoal_node::network::{Address, Identity, Network, NetworkConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

type Failed = Box<dyn Error + Send + Sync>;

const PIECE_BYTES: usize = 32 << 10;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let round_trip = Duration::from_millis(arguments.next().unwrap_or(Ok(200))?);
    let mbit = arguments.next().unwrap_or(Ok(1000))?;
    let seconds = arguments.next().unwrap_or(Ok(15))?;
    let rate = mbit as f64 * 1e6 / 8.0;

    let listen: Address = "/ip4/127.0.0.1/tcp/0".parse()?;
    let config = || {
        let mut config = NetworkConfig::new(Identity::generate());
        config.listen = vec![listen.clone()];
        config.mdns = false;
        config
    };
    let (server, mut inbound) = Network::start(config()).await?;
    let (client, _inbound) = Network::start(config()).await?;
    let port = server.addresses().first().and_then(Address::port).ok_or("the server listens nowhere")?;
    let line = TcpListener::bind("127.0.0.1:0").await?;
    let through: Address = format!("/ip4/127.0.0.1/tcp/{}", line.local_addr()?.port()).parse()?;
    tokio::spawn(relay(line, port, round_trip / 2, rate));

    let mut reading = client.open_stream(&server.local_peer(), &[through]).await?;
    reading.write_all(b"go").await?;
    reading.flush().await?;
    let mut writing = inbound.recv().await.ok_or("no stream came")?;
    tokio::spawn(async move {
        let chunk = vec![0x5a; 128 << 10];
        while writing.write_all(&chunk).await.is_ok() {}
    });

    println!("{mbit} Mbit/s, {round_trip:?} round trip: MB/s and share of the line in each second");
    let mut buffer = vec![0; 256 << 10];
    for second in 1..=seconds {
        let until = Instant::now() + Duration::from_secs(1);
        let mut got = 0;
        while let Ok(read) = tokio::time::timeout_at(until, reading.read(&mut buffer)).await {
            got += read?;
        }
        println!("{second:>4} {:>8.1} {:>6.2}", got as f64 / 1e6, got as f64 / rate);
    }
    Ok(())
}

async fn relay(line: TcpListener, port: u16, delay: Duration, rate: f64) -> Result<(), Failed> {
    loop {
        let (from, _) = line.accept().await?;
        let to = TcpStream::connect(("127.0.0.1", port)).await?;
        from.set_nodelay(true)?;
        to.set_nodelay(true)?;
        let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
        carry(from_read, to_write, delay, rate);
        carry(to_read, from_write, delay, rate);
    }
}

/// Carries bytes one way, each so much later, no faster than the rate.
fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, rate: f64) {
    // Twice what is on the line at full rate.
    let on_the_line = (rate * delay.as_secs_f64() * 2.0) as usize / PIECE_BYTES + 64;
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(on_the_line);
    tokio::spawn(async move {
        let mut free = Instant::now();
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = from.read(&mut piece).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            piece.truncate(read);
            // What a late timer lost may be made up for.
            free = free.max(Instant::now() - Duration::from_millis(10)) + Duration::from_secs_f64(read as f64 / rate);
            // Timers are good to a millisecond, which is several pieces.
            if free > Instant::now() + Duration::from_millis(5) {
                sleep_until(free).await;
            }
            if sender.send((free + delay, piece)).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((at, piece)) = pieces.recv().await {
            if at > Instant::now() {
                sleep_until(at).await;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
}
