//! Whether lines are what they are asked to be, measured with plain sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use bench_common::line::{FAR, NEAR, Shape};

use crate::{Line, Result, Stats};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub what: &'static str,
    pub value: f64,
    pub from: f64,
    pub to: f64,
}

impl Check {
    fn new(what: &'static str, value: f64, from: f64, to: f64) -> Self {
        Self { what, value, from, to }
    }

    pub fn is_good(&self) -> bool {
        (self.from..=self.to).contains(&self.value)
    }
}

/// Looks at delay, rate, queue, loss, seeds, an outage and the number of packets.
///
/// # Errors
/// When a line cannot be made, or its sockets fail.
pub fn selftest(mut told: impl FnMut(&Check)) -> Result<bool> {
    let mut good = true;
    let parts: [fn() -> Result<Vec<Check>>; 7] = [delay, loss, rate, queue, tcp, outage, packets];
    for part in parts {
        for check in part()? {
            good &= check.is_good();
            told(&check);
        }
    }
    Ok(good)
}

/// Does something on a line, from a thread of its own; gives what came of it and what the line has carried.
fn on<T: Send + 'static>(shape: Shape, act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<(T, Stats)> {
    on_seeded(shape, 1, |_| act())
}

fn on_seeded<T: Send + 'static>(
    shape: Shape,
    seed: u64,
    act: impl FnOnce(&std::path::Path) -> Result<T> + Send + 'static,
) -> Result<(T, Stats)> {
    let line = Line::new(shape, seed)?;
    let acted = thread::scope(|scope| {
        let acting = scope.spawn(|| {
            line.enter()?;
            act(line.socket())
        });
        acting.join().map_err(|_| "a thread panicked")?
    })?;
    Ok((acted, line.finish()?))
}

/// Two sockets, one at each end.
fn sockets() -> Result<(UdpSocket, UdpSocket)> {
    let (near, far) = (UdpSocket::bind((NEAR, 0))?, UdpSocket::bind((FAR, 0))?);
    near.connect(far.local_addr()?)?;
    far.connect(near.local_addr()?)?;
    Ok((near, far))
}

/// A datagram, unless none comes for so long.
fn receive(socket: &UdpSocket, patience: Duration, buffer: &mut [u8]) -> Result<Option<usize>> {
    socket.set_read_timeout(Some(patience))?;
    match socket.recv(buffer) {
        Ok(len) => Ok(Some(len)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a datagram takes there and back, in ms.
fn echo_ms(near: &UdpSocket, far: &UdpSocket) -> Result<f64> {
    let (patience, mut buffer) = (Duration::from_secs(5), [0; 64]);
    let start = Instant::now();
    near.send(b"x")?;
    receive(far, patience, &mut buffer)?.ok_or("a datagram is lost")?;
    far.send(b"x")?;
    receive(near, patience, &mut buffer)?.ok_or("a datagram is lost")?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn delay() -> Result<Vec<Check>> {
    let (mut times, _) = on(Shape::rtt(100.0), || {
        let (near, far) = sockets()?;
        (0..30).map(|_| echo_ms(&near, &far)).collect::<Result<Vec<f64>>>()
    })?;
    times.sort_by(f64::total_cmp);
    Ok(vec![
        Check::new("a round trip of 100 ms: median, ms", times[15], 100.0, 101.5),
        Check::new("its fastest, ms", times[0], 100.0, 101.5),
    ])
}

/// Which of so many datagrams arrive.
fn arriving(count: usize) -> impl FnOnce(&std::path::Path) -> Result<Vec<u16>> {
    move |_| {
        let (near, far) = sockets()?;
        let sending = thread::spawn(move || {
            for n in 0..count {
                near.send(&(n as u16).to_be_bytes())?;
                // So that the receiver's buffer never overflows.
                if n % 20 == 19 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            Ok::<_, std::io::Error>(near)
        });
        let (mut arrived, mut buffer) = (Vec::new(), [0; 64]);
        while let Some(2) = receive(&far, Duration::from_millis(500), &mut buffer)? {
            arrived.push(u16::from_be_bytes([buffer[0], buffer[1]]));
        }
        sending.join().map_err(|_| "a thread panicked")??;
        Ok(arrived)
    }
}

fn loss() -> Result<Vec<Check>> {
    let lossy = Shape::rtt(10.0).loss(10.0);
    let first = on_seeded(lossy, 1, arriving(10_000))?.0;
    let share = 100.0 - first.len() as f64 / 100.0;
    let same = f64::from(u8::from(first == on_seeded(lossy, 1, arriving(10_000))?.0));
    let other = f64::from(u8::from(first == on_seeded(lossy, 2, arriving(10_000))?.0));
    Ok(vec![
        Check::new("lost of 10 %, %", share, 9.0, 11.0),
        Check::new("the same seed loses the same packets, 1 is yes", same, 1.0, 1.0),
        Check::new("another seed does too", other, 0.0, 0.0),
    ])
}

/// Sends datagrams of 1,500 bytes (with headers) faster than the line carries them; gives how many bits arrive per second.
fn flood(sender: UdpSocket, receiver: &UdpSocket, seconds: f64, mbit: f64) -> Result<f64> {
    let sending = thread::spawn(move || {
        let start = Instant::now();
        let mut sent = 0.0;
        while start.elapsed().as_secs_f64() < seconds {
            while sent * 12_000.0 < start.elapsed().as_secs_f64() * mbit * 1e6 {
                sender.send(&[7; 1_472])?;
                sent += 1.0;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok::<_, std::io::Error>(())
    });
    let (mut arrivals, mut buffer) = (Vec::new(), [0; 2048]);
    while receive(receiver, Duration::from_millis(800), &mut buffer)?.is_some() {
        arrivals.push(Instant::now());
    }
    sending.join().map_err(|_| "a thread panicked")??;
    let (first, last) = (arrivals.first().ok_or("nothing arrives")?, arrivals.last().ok_or("nothing arrives")?);
    Ok((arrivals.len() - 1) as f64 * 12_000.0 / (*last - *first).as_secs_f64())
}

fn rate() -> Result<Vec<Check>> {
    let shape = Shape::rtt(20.0).mbit_up(10.0).mbit_down(5.0);
    let up = on(shape, || {
        let (near, far) = sockets()?;
        flood(near, &far, 2.0, 20.0)
    })?;
    let down = on(shape, || {
        let (near, far) = sockets()?;
        flood(far, &near, 2.0, 20.0)
    })?;
    Ok(vec![
        Check::new("20 Mbit/s of UDP on 10 up, Mbit/s", up.0 / 1e6, 9.8, 10.2),
        Check::new("on 5 down, Mbit/s", down.0 / 1e6, 4.9, 5.1),
    ])
}

fn queue() -> Result<Vec<Check>> {
    let (_, stats) = on(Shape::rtt(20.0).mbit_up(10.0).queue(200.0), || {
        let (near, far) = sockets()?;
        flood(near, &far, 2.0, 20.0)
    })?;
    Ok(vec![
        Check::new("a full queue of 200 ms, ms", stats.up.backlog.as_secs_f64() * 1e3, 195.0, 202.0),
        Check::new("what it has no room for is dropped", stats.up.dropped as f64, 500.0, 5_000.0),
    ])
}

/// Bits per second of a TCP flow in its second half, and the packets of both directions.
fn flow(seconds: f64) -> impl FnOnce() -> Result<f64> {
    move || {
        let listener = TcpListener::bind((FAR, 0))?;
        let address: SocketAddr = listener.local_addr()?;
        let receiving = thread::spawn(move || -> Result<f64> {
            let (mut stream, _) = listener.accept()?;
            let (mut buffer, start, mut counted) = (vec![0; 256 << 10], Instant::now(), 0);
            loop {
                let len = stream.read(&mut buffer)?;
                let elapsed = start.elapsed().as_secs_f64();
                if len == 0 || elapsed >= seconds {
                    return Ok(counted as f64 * 8.0 / (seconds / 2.0));
                }
                counted += if elapsed > seconds / 2.0 { len } else { 0 };
            }
        });
        let mut stream = TcpStream::connect(address)?;
        // Ends when the receiver closes.
        while stream.write_all(&[7; 64 << 10]).is_ok() {}
        receiving.join().map_err(|_| "a thread panicked")?
    }
}

fn tcp() -> Result<Vec<Check>> {
    let (bits, _) = on(Shape::rtt(50.0).mbit(50.0), flow(6.0))?;
    // Headers take 40 to 52 bytes of 1,500.
    Ok(vec![Check::new("TCP (cubic) at 50 Mbit/s and 50 ms, Mbit/s", bits / 1e6, 45.0, 49.0)])
}

fn outage() -> Result<Vec<Check>> {
    let ((during, after), _) = on_seeded(Shape::rtt(20.0), 1, |socket| {
        let (near, far) = sockets()?;
        let mut control = bench_common::line::Control::at(socket)?;
        let mut buffer = [0; 64];
        control.set_out(true);
        near.send(b"x")?;
        let during = receive(&far, Duration::from_millis(300), &mut buffer)?;
        control.set_out(false);
        Ok((during.map_or(0, |_| 1), echo_ms(&near, &far)?))
    })?;
    Ok(vec![
        Check::new("datagrams that pass during an outage", f64::from(during), 0.0, 0.0),
        Check::new("a round trip of 20 ms afterwards, ms", after, 20.0, 21.5),
    ])
}

fn packets() -> Result<Vec<Check>> {
    const SECONDS: f64 = 4.0;
    let (bits, stats) = on(Shape::rtt(20.0).mbit(1_000.0).queue(50.0), flow(SECONDS))?;
    let packets = (stats.up.packets + stats.down.packets) as f64 / SECONDS;
    Ok(vec![
        Check::new("TCP at 1 Gbit/s and 20 ms, Mbit/s", bits / 1e6, 200.0, 1_000.0),
        Check::new("packets per second that it carries", packets, 20_000.0, f64::INFINITY),
        Check::new("packets are late by, on average, ms", stats.mean_late().as_secs_f64() * 1e3, 0.0, 1.0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_they_are_asked_to_be() {
        let lacking = crate::lacking();
        if !lacking.is_empty() {
            println!("skipped: this needs {}", lacking.join(", "));
            return;
        }
        let mut bad = Vec::new();
        selftest(|check| bad.extend((!check.is_good()).then(|| check.clone()))).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
    }

    #[test]
    fn nothing_stays_behind() {
        if !crate::lacking().is_empty() {
            return;
        }
        let line = Line::new(Shape::rtt(1.0), 1).unwrap();
        let mut sleeping = line.command(std::path::Path::new("sleep")).arg("60").spawn().unwrap();
        let socket = line.socket().to_owned();
        assert!(socket.exists());
        drop(line);
        assert!(!sleeping.wait().unwrap().success(), "what ran there has ended");
        assert!(!socket.exists());
    }
}
