//! Bytes both ways, whatever they mean.

use super::dice::{Dice, Fate};
use super::{Shared, count, reset};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// How a connection ends before its time.
enum End {
    Silence,
    Reset,
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

pub async fn serve(mut client: TcpStream, mut dice: Dice, shared: Arc<Shared>) {
    let Ok(mut server) = shared.upstream().await else { return reset(client) };
    let back_dice = Dice::new(dice.below(usize::MAX) as u64);
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(from_client, to_server, Way::There, dice, &shared);
        let back = pump(from_server, to_client, Way::Back, back_dice, &shared);
        tokio::pin!(there, back);
        // A side that has said all it has to say may still listen.
        tokio::select! {
            end = &mut there => match end { Some(end) => Some(end), None => back.await },
            end = &mut back => match end { Some(end) => Some(end), None => there.await },
        }
    };
    match end {
        Some(End::Silence) => shared.silence().await,
        Some(End::Reset) => reset(client),
        Some(End::Close) | None => {}
    }
}

/// Until one side has no more to say (`None`), or something goes wrong.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, mut dice: Dice, shared: &Shared) -> Option<End> {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let n = match from.read(&mut piece).await {
            Ok(0) => {
                let _ = to.shutdown().await;
                return None;
            }
            Ok(n) => n,
            Err(_) => return Some(End::Reset),
        };
        let done = &shared.done;
        count(&done.passed);
        let fate = if shared.is_healed() { Fate::Pass } else { dice.fate(&shared.faults) };
        match fate {
            Fate::Delay => {
                count(&done.delayed);
                shared.pause(&mut dice).await;
            }
            Fate::Drop => {
                count(&done.dropped);
                return Some(End::Silence);
            }
            Fate::Reset => {
                count(&done.reset);
                return Some(End::Reset);
            }
            Fate::Cut if way == Way::Back => {
                count(&done.cut);
                let _ = to.write_all(&piece[..dice.below(n)]).await;
                return Some(End::Close);
            }
            Fate::Pass | Fate::Cut | Fate::RepeatRequest | Fate::RepeatReply => {}
        }
        if to.write_all(&piece[..n]).await.is_err() {
            return Some(End::Reset);
        }
    }
}
