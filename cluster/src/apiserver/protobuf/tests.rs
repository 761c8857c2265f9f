//! Decoding bodies against bytes written by hand.

use super::*;

/// Bytes of a length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut count = bytes.len();
    while count >= 0x80 {
        out.push((count & 0x7f) as u8 | 0x80);
        count >>= 7;
    }
    out.push(count as u8);
    out.extend_from_slice(bytes);
    out
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
}

fn check(bytes: &[u8]) -> Result<Value, ProtobufError> {
    decode(&Schema::build(), bytes)
}

#[test]
fn a_secret_as_kubectl_sends_it() {
    let metadata = [field(1, b"s"), field(2, b""), field(8, b"")].concat();
    let entry = [field(1, b"k"), field(2, b"value")].concat();
    let raw = [field(1, &metadata), field(2, &entry), field(3, b"Opaque")].concat();
    let secret = check(&body("v1", "Secret", &raw)).unwrap();
    assert_eq!(
        secret,
        json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "s" }, "data": { "k": "dmFsdWU=" }, "type": "Opaque" })
    );
}

#[test]
fn inlined_messages_optional_zeros_and_special_types() {
    let port = [vec![0x18, 80], field(4, &[0x08, 1, 0x1a, 3, b'w', b'e', b'b'])].concat(); // port, targetPort
    let spec = [field(1, &port), field(1, &[0x18, 81])].concat();
    let service = check(&body("v1", "Service", &field(2, &spec))).unwrap();
    assert_eq!(service["spec"]["ports"], json!([{ "port": 80, "targetPort": "web" }, { "port": 81 }]));

    let empty_dir = field(2, &field(2, b"")); // Volume.volumeSource.emptyDir
    let spec = [field(1, &empty_dir), vec![0x20, 0]].concat(); // terminationGracePeriodSeconds: 0
    let pod = check(&body("v1", "Pod", &field(2, &spec))).unwrap();
    assert_eq!(pod["spec"], json!({ "volumes": [{ "emptyDir": {} }], "terminationGracePeriodSeconds": 0 }));

    let options = check(&body("policy/v1", "DeleteOptions", &[0x08, 0])).unwrap();
    assert_eq!(options["gracePeriodSeconds"], 0);
}

#[test]
fn garbage_is_refused_and_never_panics() {
    assert_eq!(check(b"{}"), Err(ProtobufError::Prefix));
    assert!(matches!(check(&body("v1", "Nothing", b"")), Err(ProtobufError::UnknownKind { .. })));
    let good = body("v1", "Secret", &[field(1, &field(1, b"name")), field(3, b"Opaque")].concat());
    for end in 0..good.len() {
        drop(check(&good[..end]));
    }
    for index in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[index] ^= flip;
            drop(check(&bad));
        }
    }
    // A message within itself, deeper than allowed: JSON cannot hold it either.
    let mut deep = Vec::new();
    for _ in 0..200 {
        deep = field(1, &field(1, &field(1, &deep)));
    }
    drop(check(&body("v1", "Pod", &deep)));
}
