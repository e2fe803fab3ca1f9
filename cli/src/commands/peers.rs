//! `shoal peers`: who this node is connected to.

use shoal_node::api::PeerInfo;
use shoal_node::control::Service;

use crate::duration::show_seconds;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::{Reach, ask, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::Outcome;
use crate::table::{Side, Table};

pub(super) async fn run(settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let (peers, own) = with_session(settings, Reach::Offline, output, interrupt, async |session, _| {
        Ok((ask(session.client.peers(), interrupt).await?, session.is_own()))
    })
    .await?;
    if output.json() {
        return output.document(&peers);
    }
    match (peers.is_empty(), own) {
        (true, true) => output.note("no node runs here, so there are no peers; `shoal daemon` runs one"),
        (true, false) => output.note("no peers; give the node some with --bootstrap"),
        (false, _) => output.table(&table(&peers))?,
    }
    Ok(())
}

fn table(peers: &[PeerInfo]) -> Table {
    let mut table = Table::new(&[
        ("PEER", Side::Left),
        ("VIA", Side::Left),
        ("ROUND TRIP", Side::Right),
        ("RECEIVED", Side::Right),
        ("SENT", Side::Right),
        ("SINCE", Side::Right),
        ("AGENT", Side::Left),
        ("ADDRESS", Side::Left),
    ]);
    for peer in peers {
        let relayed = if peer.relayed { " relayed" } else { "" };
        let direction = if peer.inbound { "in" } else { "out" };
        table.row([
            peer.peer.clone(),
            format!("{} {direction}{relayed}", peer.transport),
            peer.rtt_ms.map(|millis| format!("{millis:.1} ms")).unwrap_or_default(),
            show_size(peer.received_bytes),
            show_size(peer.sent_bytes),
            show_seconds(peer.connected_seconds),
            peer.agent.clone().unwrap_or_default(),
            peer.address.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_agent_stays_in_its_cell() {
        let peer = PeerInfo {
            peer: "12D3".into(),
            address: "/ip4/1.2.3.4/tcp/5".into(),
            transport: "tcp".into(),
            relayed: false,
            inbound: true,
            agent: Some("evil\n\u{1b}]0;x\u{7}".into()),
            rtt_ms: Some(1.25),
            connected_seconds: 61,
            received_bytes: 0,
            sent_bytes: 2048,
        };
        let lines = table(&[peer]).lines();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines.last().unwrap(),
            "12D3  tcp in      1.2 ms       0 B  2.0 KiB  1 min 1 s  evil\\n\\u{1b}]0;x\\u{7}  /ip4/1.2.3.4/tcp/5"
        );
    }
}
