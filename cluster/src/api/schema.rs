//! The shape of every message of the API, from one table: JSON names, protobuf numbers, types and merge keys.
//!
//! The `.schema` files beside this one are the table. From it come: pruning and type errors of JSON bodies
//! ([`conform`]), decoding of protobuf bodies, strategic merge patches, and the OpenAPI documents.

pub mod conform;

use std::collections::{BTreeMap, HashMap};

/// The packages of messages and their tables. The first member is the prefix of references across packages.
const PACKAGES: [(&str, &str, &str); 4] = [
    ("core", "io.k8s.api.core.v1", include_str!("schema/core.schema")),
    ("meta", "io.k8s.apimachinery.pkg.apis.meta.v1", include_str!("schema/meta.schema")),
    ("discovery", "io.k8s.api.discovery.v1", include_str!("schema/discovery.schema")),
    ("coordination", "io.k8s.api.coordination.v1", include_str!("schema/coordination.schema")),
];

/// All messages. Built once at start and shared.
#[derive(Debug)]
pub struct Schema {
    messages: Vec<Message>,
    by_name: HashMap<String, MessageRef>,
}

/// Index of a message in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageRef(usize);

/// One message: its members as JSON sees them and as protobuf sees them.
#[derive(Debug, Default)]
pub struct Message {
    /// Short name such as `core.Pod`.
    pub name: String,
    /// Name in OpenAPI documents, such as `io.k8s.api.core.v1.Pod`.
    pub full_name: String,
    /// Members by JSON name; those of inlined messages are among them.
    pub members: BTreeMap<String, Member>,
    /// Members by protobuf field number; inlined messages stand here as themselves.
    pub numbers: HashMap<u32, Member>,
}

/// One member of a message.
#[derive(Clone, Debug)]
pub struct Member {
    /// JSON name.
    pub name: String,
    /// What it holds.
    pub kind: Type,
    /// Whether the members of the message it holds belong to the parent.
    pub inline: bool,
    /// Whether being present with a zero value means something other than being absent.
    pub optional: bool,
    /// How strategic merge patches treat it.
    pub merge: Merge,
}

/// What a member holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the wire format")]
pub enum Type {
    String,
    Bool,
    Int32,
    Int64,
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    RawFields,
    Message(MessageRef),
    List(Box<Type>),
    Map(Box<Type>),
}

/// How strategic merge patches treat a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Merge {
    /// Lists are replaced, maps merged.
    #[default]
    Default,
    /// A list of objects is merged by this key.
    ByKey(String),
    /// A list of scalars is merged as a set.
    Set,
}

impl Schema {
    /// Reads the tables. They are part of the program: a mistake in them is a bug, and a test reads them all.
    pub fn build() -> Self {
        let mut schema = Self { messages: Vec::new(), by_name: HashMap::new() };
        for (package, full, table) in PACKAGES {
            for name in rows(table).filter(|row| !row.starts_with(' ')) {
                schema.by_name.insert(format!("{package}.{name}"), MessageRef(schema.messages.len()));
                schema.messages.push(Message {
                    name: format!("{package}.{name}"),
                    full_name: format!("{full}.{name}"),
                    ..Message::default()
                });
            }
        }
        for (package, _, table) in PACKAGES {
            let mut current = None;
            for row in rows(table) {
                match row.strip_prefix("  ") {
                    None => current = schema.find(&format!("{package}.{row}")),
                    Some(row) => schema.add_member(current.expect("a message stands before its members"), package, row),
                }
            }
        }
        schema.flatten();
        schema
    }

    /// The message of a short name such as `core.Pod`.
    pub fn find(&self, name: &str) -> Option<MessageRef> {
        self.by_name.get(name).copied()
    }

    /// The message behind a reference.
    pub fn message(&self, message: MessageRef) -> &Message {
        &self.messages[message.0]
    }

    fn add_member(&mut self, message: MessageRef, package: &str, row: &str) {
        let mut words = row.split(' ');
        let mut word = || words.next().expect("a member has a number, a name and a type");
        let number = word().parse().expect("a field number");
        let (name, kind) = (word().to_owned(), word());
        let mut member = Member {
            name,
            kind: self.parse_type(package, kind),
            inline: false,
            optional: false,
            merge: Merge::Default,
        };
        for word in words {
            match word {
                "inline" => member.inline = true,
                "ptr" => member.optional = true,
                "merge" => member.merge = Merge::Set,
                // Unions of the served kinds are handled by their validation: nothing more to keep.
                "retain" => {}
                _ => member.merge = Merge::ByKey(word.strip_prefix("merge=").expect("a known word").to_owned()),
            }
        }
        self.messages[message.0].numbers.insert(number, member);
    }

    fn parse_type(&self, package: &str, text: &str) -> Type {
        if let Some(item) = text.strip_prefix("[]") {
            return Type::List(Box::new(self.parse_type(package, item)));
        }
        if let Some(value) = text.strip_prefix("map[").and_then(|rest| rest.strip_suffix(']')) {
            return Type::Map(Box::new(self.parse_type(package, value)));
        }
        match text {
            "string" => Type::String,
            "bool" => Type::Bool,
            "int32" => Type::Int32,
            "int64" => Type::Int64,
            "bytes" => Type::Bytes,
            "Quantity" => Type::Quantity,
            "IntOrString" => Type::IntOrString,
            "Time" => Type::Time,
            "MicroTime" => Type::MicroTime,
            "FieldsV1" => Type::RawFields,
            _ => {
                let local = self.find(&format!("{package}.{text}"));
                Type::Message(local.or_else(|| self.find(text)).expect("a message of the tables"))
            }
        }
    }

    /// Fills `members` from `numbers`, putting those of inlined messages into their parents.
    fn flatten(&mut self) {
        for index in 0..self.messages.len() {
            let mut members = BTreeMap::new();
            let mut open: Vec<&Message> = vec![&self.messages[index]];
            while let Some(message) = open.pop() {
                for member in message.numbers.values() {
                    match (&member.kind, member.inline) {
                        (Type::Message(inner), true) => open.push(&self.messages[inner.0]),
                        _ => drop(members.insert(member.name.clone(), member.clone())),
                    }
                }
            }
            self.messages[index].members = members;
        }
    }
}

fn rows(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|row| !row.is_empty() && !row.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_reads_and_every_reference_leads_somewhere() {
        let schema = Schema::build();
        let pod = schema.message(schema.find("core.PodSpec").unwrap());
        assert_eq!(pod.members["containers"].merge, Merge::ByKey("name".to_owned()));
        assert!(pod.members["terminationGracePeriodSeconds"].optional);
        let volume = schema.message(schema.find("core.Volume").unwrap());
        assert!(volume.members.contains_key("emptyDir"), "inlined");
        assert!(!volume.members.contains_key("volumeSource"));
        for message in &schema.messages {
            assert!(!message.numbers.is_empty(), "{} has no members", message.name);
        }
    }
}
