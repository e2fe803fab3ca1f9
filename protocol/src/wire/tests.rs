//! Every frame reads back, nothing panics, and the bytes are those of `docs/format.md`.

use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use proptest::collection::vec;
use proptest::prelude::*;

use super::frame::bound;
use super::*;
use crate::availability::{AvailabilityPart, ChunkIndex, ChunkRange, PartChunks};
use crate::hash::{ContentHash, DiscoveryKey, NodeId};

fn some_bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

fn ranges() -> impl Strategy<Value = Vec<ChunkRange>> {
    let range = (0..u64::MAX / 2, 1..=u32::MAX);
    vec(range.prop_map(|(start, count)| ChunkRange { start: ChunkIndex(start), count }), 0..=MAX_RANGES)
}

fn ids() -> impl Strategy<Value = Vec<NodeId>> {
    vec(any::<[u8; 32]>().prop_map(NodeId::from_bytes), 0..=MAX_NODE_IDS)
}

fn proof() -> impl Strategy<Value = SessionProof> {
    any::<[u8; 32]>().prop_map(SessionProof::from_bytes)
}

fn requester_message() -> impl Strategy<Value = RequesterMessage> {
    let open = (any::<u16>(), any::<[u8; 32]>(), proof(), any::<[bool; 3]>(), some_bytes(MAX_CAPABILITY_BYTES));
    prop_oneof![
        open.prop_map(|(version, key, proof, [serves, in_order, begins], capability)| {
            let key = DiscoveryKey::from_bytes(key);
            RequesterMessage::Open(Open { version, key, proof, serves, in_order, begins, capability })
        }),
        ids().prop_map(RequesterMessage::WantNodes),
        ranges().prop_map(RequesterMessage::Want),
        ranges().prop_map(RequesterMessage::Cancel),
    ]
}

fn part() -> impl Strategy<Value = AvailabilityPart> {
    let all = (0..u64::MAX / 2, 0..u64::MAX / 2).prop_map(|(start, count)| AvailabilityPart {
        start: ChunkIndex(start),
        count,
        chunks: PartChunks::All,
    });
    let bitmap = (0..u64::MAX / 2, vec(any::<bool>(), 0..2000)).prop_map(|(start, chunks)| {
        let mut bits = vec![0u8; chunks.len().div_ceil(8)];
        for (at, _) in chunks.iter().enumerate().filter(|(_, held)| **held) {
            bits[at / 8] |= 1 << (at % 8);
        }
        let count = chunks.len() as u64;
        AvailabilityPart { start: ChunkIndex(start), count, chunks: PartChunks::Bitmap(bits.into()) }
    });
    prop_oneof![all, bitmap]
}

fn provider() -> impl Strategy<Value = KnownProvider> {
    (some_bytes(MAX_PEER_ID_BYTES), vec(some_bytes(MAX_ADDRESS_BYTES), 0..=MAX_PROVIDER_ADDRESSES))
        .prop_map(|(peer, addresses)| KnownProvider { peer, addresses })
}

fn server_message() -> impl Strategy<Value = ServerMessage> {
    let reason = prop_oneof![
        Just(NoChunksReason::NotHeld),
        Just(NoChunksReason::Unreadable),
        Just(NoChunksReason::SentToOthers),
        (3..=255u8).prop_map(NoChunksReason::Other),
    ];
    let code = prop_oneof![
        Just(CloseCode::NotFound),
        Just(CloseCode::BadProof),
        Just(CloseCode::Version),
        Just(CloseCode::ShuttingDown),
        Just(CloseCode::ProtocolError),
        (6..=255u8).prop_map(CloseCode::Other),
    ];
    prop_oneof![
        (any::<u16>(), proof()).prop_map(|(version, proof)| ServerMessage::Accept { version, proof }),
        part().prop_map(ServerMessage::Availability),
        ranges().prop_map(ServerMessage::Have),
        (any::<[u8; 32]>(), some_bytes(3000))
            .prop_map(|(id, bytes)| ServerMessage::Node { id: NodeId::from_bytes(id), bytes }),
        ids().prop_map(ServerMessage::NoNodes),
        (any::<u64>(), any::<u8>(), some_bytes(3000)).prop_map(|(index, codec, bytes)| ServerMessage::Chunk {
            index: ChunkIndex(index),
            codec,
            bytes
        }),
        (reason, ranges()).prop_map(|(reason, ranges)| ServerMessage::NoChunks { reason, ranges }),
        any::<u32>().prop_map(|retry_after_ms| ServerMessage::Busy { retry_after_ms }),
        vec(provider(), 0..=MAX_PROVIDERS).prop_map(ServerMessage::Providers),
        (code, "\\PC{0,64}").prop_map(|(code, text)| ServerMessage::Close { code, text }),
    ]
}

/// Takes one frame and then the rest, whatever they are.
fn read(bytes: &[u8], direction: Direction) -> Result<Option<(FrameHeader, Bytes)>, WireError> {
    take_frame(&mut BytesMut::from(bytes), direction)
}

proptest! {
    #[test]
    fn what_a_requester_says_reads_back(message in requester_message()) {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        let (header, payload) = take_frame(&mut out, Direction::ToServer)?.expect("whole");
        prop_assert!(out.is_empty());
        prop_assert_eq!(RequesterMessage::decode(header, &payload)?, Some(message));
    }

    #[test]
    fn what_a_server_says_reads_back(message in server_message()) {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        for cut in [0, 3, 5, out.len() - 1] {
            if cut < out.len() {
                prop_assert_eq!(read(&out[..cut], Direction::ToRequester)?, None, "cut at {}", cut);
            }
        }
        let (header, payload) = take_frame(&mut out, Direction::ToRequester)?.expect("whole");
        prop_assert_eq!(ServerMessage::decode(header, &payload)?, Some(message));
    }

    #[test]
    fn no_bytes_panic(kind in any::<u8>(), payload in vec(any::<u8>(), 0..600), long in any::<bool>()) {
        for direction in [Direction::ToServer, Direction::ToRequester] {
            let mut bytes = vec![kind];
            bytes.extend((payload.len() as u32 + u32::from(long) * 7).to_le_bytes());
            bytes.extend(&payload);
            if let Ok(Some((header, payload))) = read(&bytes, direction) {
                let _ = RequesterMessage::decode(header, &payload);
                let _ = ServerMessage::decode(header, &payload);
            }
        }
    }

    #[test]
    fn no_cut_or_longer_payload_passes_for_whole(message in server_message(), cut in 1usize..40) {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        let payload = out.len() - HEADER_BYTES;
        let cut = payload.saturating_sub(cut);
        let header = FrameHeader::decode(out.first_chunk().expect("a header"), Direction::ToRequester)?;
        let bytes = Bytes::copy_from_slice(&out[HEADER_BYTES..HEADER_BYTES + cut]);
        let read = ServerMessage::decode(header, &bytes);
        // A node, a chunk and a bitmap end where the payload ends: those, and only those, may read as shorter ones.
        if !matches!(message, ServerMessage::Node { .. } | ServerMessage::Chunk { .. }) {
            prop_assert!(cut == payload || read != Ok(Some(message)));
        }
    }
}

/// Each frame of `docs/format.md`, by name.
fn vectors() -> Vec<(&'static str, BytesMut)> {
    let content = ContentHash::from_root(NodeId::of(b"shoal"));
    let (requester, server) = (b"requester".as_slice(), b"server".as_slice());
    let run = |start, count| ChunkRange { start: ChunkIndex(start), count };
    let node = NodeId::of(b"node");
    let requests = [
        (
            "OPEN",
            RequesterMessage::Open(Open {
                version: WIRE_VERSION,
                key: content.discovery_key(),
                proof: SessionProof::open(&content, requester, server),
                serves: true,
                in_order: false,
                begins: false,
                capability: Bytes::new(),
            }),
        ),
        ("WANT_NODES", RequesterMessage::WantNodes(vec![node])),
        ("WANT", RequesterMessage::Want(vec![run(3, 2), run(0x1_0000_0000, 1)])),
        ("CANCEL", RequesterMessage::Cancel(vec![run(4, 1)])),
    ];
    let bitmap = PartChunks::Bitmap(Bytes::from_static(&[0b1010_0101, 0b0000_0010]));
    let provider = KnownProvider { peer: Bytes::from_static(b"peer"), addresses: vec![Bytes::from_static(b"addr")] };
    let answers = [
        (
            "ACCEPT",
            ServerMessage::Accept { version: WIRE_VERSION, proof: SessionProof::accept(&content, server, requester) },
        ),
        (
            "AVAILABILITY, all",
            ServerMessage::Availability(AvailabilityPart {
                start: ChunkIndex(0),
                count: 1000,
                chunks: PartChunks::All,
            }),
        ),
        (
            "AVAILABILITY, bitmap",
            ServerMessage::Availability(AvailabilityPart { start: ChunkIndex(8), count: 10, chunks: bitmap }),
        ),
        ("HAVE", ServerMessage::Have(vec![run(7, 9)])),
        ("NODE", ServerMessage::Node { id: node, bytes: Bytes::from_static(b"node") }),
        ("NO_NODES", ServerMessage::NoNodes(vec![node])),
        ("CHUNK", ServerMessage::Chunk { index: ChunkIndex(5), codec: 0, bytes: Bytes::from_static(b"shoal") }),
        ("NO_CHUNKS", ServerMessage::NoChunks { reason: NoChunksReason::Unreadable, ranges: vec![run(5, 1)] }),
        ("BUSY", ServerMessage::Busy { retry_after_ms: 1500 }),
        ("CLOSE", ServerMessage::Close { code: CloseCode::NotFound, text: "not here".to_owned() }),
        ("PROVIDERS", ServerMessage::Providers(vec![provider])),
    ];
    let mut vectors = Vec::new();
    for (name, message) in requests {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        vectors.push((name, out));
    }
    for (name, message) in answers {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        vectors.push((name, out));
    }
    vectors
}

#[test]
fn the_bytes_are_those_of_the_document() {
    let document = include_str!("../../../docs/format.md");
    for (name, bytes) in vectors() {
        let hex = HEXLOWER.encode(&bytes);
        let line = format!("| {name} | `{hex}` |");
        assert!(document.lines().any(|found| found == line), "the document lacks this line:\n{line}");
        let kind = bytes[0];
        let limit = [Direction::ToServer, Direction::ToRequester].into_iter().find_map(|to| bound(kind, to)).unwrap();
        let limit = if limit < 1000 { limit.to_string() } else { format!("{},{:03}", limit / 1000, limit % 1000) };
        let row = format!("| {kind:#04x} | {} | {limit} |", name.split(',').next().unwrap());
        assert!(document.lines().any(|found| found.starts_with(&row)), "the document lacks this row:\n{row}");
    }
}

#[test]
fn a_chunk_header_is_what_stands_before_a_chunk() {
    let bytes = Bytes::from_static(b"some bytes");
    let mut out = BytesMut::new();
    ServerMessage::Chunk { index: ChunkIndex(77), codec: 3, bytes: bytes.clone() }.encode(&mut out);
    let header = chunk_frame_header(77, 3, bytes.len() as u32);
    assert_eq!(out[..header.len()], header);
    assert_eq!(out[header.len()..], bytes);
}

#[test]
fn a_chunk_is_handed_on_without_a_copy() {
    let mut buffer = BytesMut::new();
    buffer.extend_from_slice(&chunk_frame_header(1, 0, 4));
    buffer.extend_from_slice(b"data");
    let place = buffer.as_ptr();
    let (header, payload) = take_frame(&mut buffer, Direction::ToRequester).unwrap().unwrap();
    assert!(header.is_chunk());
    let Ok(Some(ServerMessage::Chunk { bytes, .. })) = ServerMessage::decode(header, &payload) else {
        panic!("not a chunk");
    };
    assert_eq!(bytes.as_ptr() as usize, place as usize + HEADER_BYTES + 9);
}

#[test]
fn lengths_are_refused_before_anything_is_allocated() {
    let header = |kind: u8, length: u32, direction| {
        let mut bytes = [kind; HEADER_BYTES];
        bytes[1..].copy_from_slice(&length.to_le_bytes());
        FrameHeader::decode(&bytes, direction)
    };
    let chunk = MAX_CHUNK_BYTES + 9;
    assert!(header(0x16, chunk, Direction::ToRequester).is_ok());
    assert_eq!(
        header(0x16, chunk + 1, Direction::ToRequester),
        Err(WireError::FrameTooLong { kind: 0x16, length: chunk + 1, limit: chunk })
    );
    assert!(header(0x03, u32::MAX, Direction::ToServer).is_err());
    // A server's frames mean nothing to a server.
    assert_eq!(header(0x16, 10, Direction::ToServer), Err(WireError::UnknownType { kind: 0x16 }));
    assert_eq!(header(0x7f, 0, Direction::ToServer), Err(WireError::UnknownType { kind: 0x7f }));
    let optional = header(0xee, MAX_OPTIONAL_BYTES, Direction::ToServer).unwrap();
    assert!(optional.is_skipped());
    assert_eq!(RequesterMessage::decode(optional, &Bytes::new()), Ok(None));
    assert!(header(0xee, MAX_OPTIONAL_BYTES + 1, Direction::ToServer).is_err());
}

#[test]
fn values_without_meaning_are_refused() {
    let refused = |kind: u8, payload: &[u8]| {
        let mut bytes = vec![kind];
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
        let (header, payload) = read(&bytes, Direction::ToRequester).unwrap().unwrap();
        ServerMessage::decode(header, &payload).unwrap_err()
    };
    let mut run_past_the_end = vec![1, 0];
    run_past_the_end.extend([0xff; 12]);
    assert!(matches!(refused(0x13, &run_past_the_end), WireError::Value { field: "start of a run", .. }));
    for (kind, before) in [(0x13, 0), (0x17, 1)] {
        let mut second_run_empty = vec![0; before];
        second_run_empty.extend([2, 0]);
        for count in [1u32, 0] {
            second_run_empty.extend(7u64.to_le_bytes());
            second_run_empty.extend(count.to_le_bytes());
        }
        assert!(matches!(refused(kind, &second_run_empty), WireError::Value { field: "count of a run", found: 0, .. }));
    }
    let part = |count: u64, form: u8, bits: &[u8]| {
        let mut payload = vec![0; 8];
        payload.extend(count.to_le_bytes());
        payload.push(form);
        payload.extend(bits);
        payload
    };
    assert!(matches!(refused(0x12, &part(3, 1, &[0b1000])), WireError::Value { field: "bits past its count", .. }));
    assert!(matches!(refused(0x12, &part(3, 2, &[])), WireError::Value { field: "form", .. }));
    assert!(matches!(refused(0x12, &part(1 << 40, 1, &[1])), WireError::Value { field: "count", .. }));
    assert!(matches!(refused(0x12, &part(9, 1, &[1])), WireError::Payload { .. }));
    assert!(matches!(refused(0x12, &part(9, 0, &[1])), WireError::Payload { .. }));
}

#[test]
fn a_proof_is_for_one_content_one_role_and_one_pair() {
    let (a, b) = (ContentHash::from_root(NodeId::of(b"a")), ContentHash::from_root(NodeId::of(b"b")));
    let proof = SessionProof::open(&a, b"x", b"yz");
    assert_eq!(proof, SessionProof::open(&a, b"x", b"yz"));
    let others = [
        SessionProof::open(&b, b"x", b"yz"),
        SessionProof::open(&a, b"yz", b"x"),
        SessionProof::open(&a, b"xy", b"z"),
        SessionProof::accept(&a, b"x", b"yz"),
    ];
    assert!(others.iter().all(|other| *other != proof));
}

#[test]
fn a_close_text_is_cut_at_a_character() {
    let mut out = BytesMut::new();
    ServerMessage::Close { code: CloseCode::ProtocolError, text: "ö".repeat(200) }.encode(&mut out);
    let (header, payload) = take_frame(&mut out, Direction::ToRequester).unwrap().unwrap();
    let Ok(Some(ServerMessage::Close { text, .. })) = ServerMessage::decode(header, &payload) else {
        panic!("not a close");
    };
    assert_eq!(text, "ö".repeat(128));
}

#[test]
fn the_largest_message_of_each_kind_keeps_its_bound() {
    let bytes = |count: usize| Bytes::from(vec![0xff; count]);
    let node = NodeId::of(b"node");
    let runs = vec![ChunkRange { start: ChunkIndex(1), count: u32::MAX }; MAX_RANGES];
    let bitmap = PartChunks::Bitmap(bytes(crate::availability::MAX_BITMAP_CHUNKS as usize / 8));
    let count = crate::availability::MAX_BITMAP_CHUNKS;
    let part = AvailabilityPart { start: ChunkIndex(0), count, chunks: bitmap };
    let addresses = vec![bytes(MAX_ADDRESS_BYTES); MAX_PROVIDER_ADDRESSES];
    let provider = KnownProvider { peer: bytes(MAX_PEER_ID_BYTES), addresses };
    let reason = NoChunksReason::NotHeld;
    for message in [
        ServerMessage::Availability(part),
        ServerMessage::Have(runs.clone()),
        ServerMessage::Node { id: node, bytes: bytes(MAX_NODE_BYTES) },
        ServerMessage::NoNodes(vec![node; MAX_NODE_IDS]),
        ServerMessage::Chunk { index: ChunkIndex(0), codec: 0, bytes: bytes(MAX_CHUNK_BYTES as usize) },
        ServerMessage::NoChunks { reason, ranges: runs.clone() },
        ServerMessage::Close { code: CloseCode::NotFound, text: "x".repeat(MAX_CLOSE_TEXT_BYTES) },
        ServerMessage::Providers(vec![provider; MAX_PROVIDERS]),
    ] {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        let (header, payload) = take_frame(&mut out, Direction::ToRequester).unwrap().unwrap();
        assert_eq!(ServerMessage::decode(header, &payload), Ok(Some(message)));
    }
    let proof = SessionProof::from_bytes([1; 32]);
    let key = DiscoveryKey::from_bytes([2; 32]);
    let open = Open {
        version: 1,
        key,
        proof,
        serves: true,
        in_order: true,
        begins: true,
        capability: bytes(MAX_CAPABILITY_BYTES),
    };
    for message in [
        RequesterMessage::Open(open),
        RequesterMessage::Want(runs),
        RequesterMessage::WantNodes(vec![node; MAX_NODE_IDS]),
    ] {
        let mut out = BytesMut::new();
        message.encode(&mut out);
        let (header, payload) = take_frame(&mut out, Direction::ToServer).unwrap().unwrap();
        assert_eq!(RequesterMessage::decode(header, &payload), Ok(Some(message)));
    }
}
