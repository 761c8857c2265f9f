//! Protobuf bodies: the envelope `k8s\0` + `runtime.Unknown`, and messages by the schema, decoded into JSON.
//!
//! Writers send every scalar even when it is zero; zeros are dropped unless the schema says that presence has meaning.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::api::schema::{Member, MessageRef, Schema, Type};

/// The media type of protobuf bodies.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may be nested.
const DEPTH_MAX: usize = 48;

/// Why bytes are not the message they should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ProtobufError {
    #[error("expected the prefix \"k8s\\0\"")]
    Prefix,
    #[error("byte {offset}: {expected}")]
    Malformed { offset: usize, expected: &'static str },
    #[error("no message is known for {api_version}, Kind={kind}")]
    UnknownKind { api_version: String, kind: String },
    #[error("nested deeper than {DEPTH_MAX}")]
    Depth,
}

/// One field as it stands on the wire.
enum Raw<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads fields one after the other. `offset` counts from the beginning of the message.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// Decodes a body: the object with its kind and version.
pub(super) fn decode(schema: &Schema, body: &[u8]) -> Result<Value, ProtobufError> {
    let bytes = body.strip_prefix(MAGIC).ok_or(ProtobufError::Prefix)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut envelope = Reader { bytes, offset: 0 };
    while let Some((number, field)) = envelope.field()? {
        match (number, field) {
            (1, Raw::Bytes(bytes)) => {
                let mut reader = Reader { bytes, offset: 0 };
                while let Some((number, field)) = reader.field()? {
                    match (number, field) {
                        (1, Raw::Bytes(bytes)) => api_version = text(bytes)?,
                        (2, Raw::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let message = message_of(schema, &api_version, &kind);
    let message =
        message.ok_or_else(|| ProtobufError::UnknownKind { api_version: api_version.clone(), kind: kind.clone() })?;
    let mut object = Map::new();
    decode_message(schema, message, raw, &mut object, 0)?;
    object.insert("kind".to_owned(), json!(kind));
    object.insert("apiVersion".to_owned(), json!(api_version));
    Ok(Value::Object(object))
}

fn message_of(schema: &Schema, api_version: &str, kind: &str) -> Option<MessageRef> {
    // Options of a deletion come under the name of any group.
    if kind == "DeleteOptions" {
        return schema.find("meta.DeleteOptions");
    }
    schema.find(crate::api::find_kind(api_version, kind)?.message)
}

fn text(bytes: &[u8]) -> Result<String, ProtobufError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(ProtobufError::Malformed { offset: error.valid_up_to(), expected: "expected UTF-8 text" }),
    }
}

impl<'a> Reader<'a> {
    fn malformed(&self, expected: &'static str) -> ProtobufError {
        ProtobufError::Malformed { offset: self.offset, expected }
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.offset).ok_or_else(|| self.malformed("expected more of a number"))?;
            self.offset += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("number is longer than ten bytes"))
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], ProtobufError> {
        let count = usize::try_from(count).map_err(|_| self.malformed("length is too large"))?;
        let end = self.offset.checked_add(count).filter(|&end| end <= self.bytes.len());
        let taken = end.and_then(|end| self.bytes.get(self.offset..end));
        let taken = taken.ok_or_else(|| self.malformed("length runs over the end of the message"))?;
        self.offset += count;
        Ok(taken)
    }

    fn field(&mut self) -> Result<Option<(u32, Raw<'a>)>, ProtobufError> {
        if self.offset == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| self.malformed("field number is too large"))?;
        let raw = match tag & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => self.take(8).map(|_| Raw::Other)?,
            2 => {
                let count = self.varint()?;
                Raw::Bytes(self.take(count)?)
            }
            5 => self.take(4).map(|_| Raw::Other)?,
            _ => return Err(self.malformed("unknown wire type")),
        };
        Ok(Some((number, raw)))
    }
}

fn decode_message(
    schema: &Schema,
    message: MessageRef,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Depth);
    }
    let numbers = &schema.message(message).numbers;
    let mut reader = Reader { bytes, offset: 0 };
    while let Some((number, raw)) = reader.field()? {
        // Numbers this program does not know belong to newer versions.
        let Some(member) = numbers.get(&number) else { continue };
        member_value(schema, member, raw, object, depth)?;
    }
    Ok(())
}

fn member_value(
    schema: &Schema,
    member: &Member,
    raw: Raw<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match (&member.kind, raw) {
        (Type::Message(inner), Raw::Bytes(bytes)) if member.inline => {
            decode_message(schema, *inner, bytes, object, depth + 1)
        }
        (Type::List(item), raw) => {
            let value = value(schema, item, raw, depth)?.unwrap_or_else(|| zero(item));
            let list = object.entry(member.name.as_str()).or_insert_with(|| json!([]));
            list.as_array_mut().into_iter().for_each(|list| list.push(value.clone()));
            Ok(())
        }
        (Type::Map(item), Raw::Bytes(bytes)) => {
            let (mut key, mut entry) = (String::new(), None);
            let mut reader = Reader { bytes, offset: 0 };
            while let Some((number, raw)) = reader.field()? {
                match (number, raw) {
                    (1, Raw::Bytes(bytes)) => key = text(bytes)?,
                    (2, raw) => entry = value(schema, item, raw, depth)?,
                    _ => {}
                }
            }
            let map = crate::api::meta::submap(object, &member.name);
            map.insert(key, entry.unwrap_or_else(|| zero(item)));
            Ok(())
        }
        (kind, raw) => {
            match value(schema, kind, raw, depth)? {
                Some(value) if member.optional || !is_zero(&value) => drop(object.insert(member.name.clone(), value)),
                _ => {}
            }
            Ok(())
        }
    }
}

/// The value of a field; `None` if the wire type is not the one of the type, or the value is absent.
fn value(schema: &Schema, kind: &Type, raw: Raw<'_>, depth: usize) -> Result<Option<Value>, ProtobufError> {
    Ok(match (kind, raw) {
        (Type::Bool, Raw::Varint(number)) => Some(json!(number != 0)),
        // Negative numbers are written as 64 bits, whatever their type: the conversions wrap on purpose.
        (Type::Int32 | Type::Int64, Raw::Varint(number)) => Some(json!(number.cast_signed())),
        (Type::String, Raw::Bytes(bytes)) => Some(json!(text(bytes)?)),
        (Type::Bytes, Raw::Bytes(bytes)) => Some(json!(base64::engine::general_purpose::STANDARD.encode(bytes))),
        (Type::Quantity, Raw::Bytes(bytes)) => Some(json!(first_text(bytes)?)),
        (Type::RawFields, Raw::Bytes(bytes)) => serde_json::from_str(&first_text(bytes)?).ok(),
        (Type::IntOrString, Raw::Bytes(bytes)) => Some(int_or_string(bytes)?),
        (Type::Time | Type::MicroTime, Raw::Bytes(bytes)) => time(bytes, *kind == Type::MicroTime)?,
        (Type::Message(message), Raw::Bytes(bytes)) => {
            let mut object = Map::new();
            decode_message(schema, *message, bytes, &mut object, depth + 1)?;
            Some(Value::Object(object))
        }
        _ => None,
    })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn zero(kind: &Type) -> Value {
    match kind {
        Type::Bool => json!(false),
        Type::Int32 | Type::Int64 | Type::IntOrString => json!(0),
        Type::Message(_) | Type::Map(_) | Type::RawFields => json!({}),
        Type::List(_) => json!([]),
        Type::Quantity => json!("0"),
        Type::String | Type::Bytes | Type::Time | Type::MicroTime => json!(""),
    }
}

/// The text in field 1 of a wrapper message.
fn first_text(bytes: &[u8]) -> Result<String, ProtobufError> {
    let mut reader = Reader { bytes, offset: 0 };
    let mut found = String::new();
    while let Some((number, raw)) = reader.field()? {
        if let (1, Raw::Bytes(bytes)) = (number, raw) {
            found = text(bytes)?;
        }
    }
    Ok(found)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    let mut reader = Reader { bytes, offset: 0 };
    while let Some(field) = reader.field()? {
        match field {
            (1, Raw::Varint(kind)) => is_text = kind == 1,
            (2, Raw::Varint(value)) => number = value.cast_signed(),
            (3, Raw::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(string) } else { json!(number) })
}

/// A time; absent seconds mean that there is none.
fn time(bytes: &[u8], micro: bool) -> Result<Option<Value>, ProtobufError> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader { bytes, offset: 0 };
    while let Some(field) = reader.field()? {
        match field {
            (1, Raw::Varint(value)) => seconds = value.cast_signed(),
            (2, Raw::Varint(value)) => nanos = i32::try_from(value.cast_signed()).unwrap_or(0),
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(None);
    }
    let time = jiff::Timestamp::new(seconds, nanos)
        .map_err(|_| ProtobufError::Malformed { offset: 0, expected: "expected a time" })?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(Some(json!(time.strftime(format).to_string())))
}

#[cfg(test)]
mod tests;
