//! Values as Debug shows them, made comparable: two libraries' structs agree if their fields of the same name hold the
//! same.

use std::collections::BTreeMap;

use brooklet::kafka::wire::Shape;

/// A value without its types: names of structs, newtypes and `Some` are gone; blobs and UUIDs are lists of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    Null,
    /// Not shown: it differs from nothing. The bytes that both make of it are compared all the same.
    Hidden,
    Atom(String),
    List(Vec<Tree>),
    Struct(BTreeMap<String, Tree>),
}

/// Reads the output of `{:?}`.
pub(crate) fn parse(debug: &str) -> Tree {
    let mut parser = Parser { rest: debug };
    let tree = parser.value();
    assert!(parser.rest.is_empty(), "left over: {}", parser.rest);
    tree
}

/// Where `ours` and `theirs` differ in what is on the wire in this version.
///
/// Fields that only they have are newer than what we speak; fields that the version doesn't have are defaults on both
/// sides, which differ in whether an absent string is null or empty.
pub(crate) fn difference(shape: &Shape, version: i16, ours: &Tree, theirs: &Tree) -> Option<String> {
    match (shape, ours, theirs) {
        (Shape::Nullable(inner), ours, theirs) if *ours != Tree::Null && *theirs != Tree::Null => {
            difference(inner, version, ours, theirs)
        }
        (Shape::Struct(fields), Tree::Struct(ours), Tree::Struct(theirs)) => {
            fields.iter().filter(|field| (field.present)(version)).find_map(|field| {
                let name = field.name;
                let Some(their) = theirs.get(name) else { return Some(format!("{name}: they have no such field")) };
                difference(&field.shape, version, &ours[name], their).map(|text| format!("{name}.{text}"))
            })
        }
        (Shape::Array(inner), Tree::List(ours), Tree::List(theirs)) if ours.len() == theirs.len() => {
            ours.iter().zip(theirs).find_map(|(our, their)| difference(inner, version, our, their))
        }
        (_, Tree::Hidden, _) => None,
        _ if ours == theirs => None,
        _ => Some(format!(" {ours:?} is {theirs:?} to them")),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Tree {
        if self.eat("[") {
            return Tree::List(self.until("]", Parser::value));
        }
        if self.eat("b\"") {
            return Tree::List(unescape(self.quoted()).map(|byte| Tree::Atom(byte.to_string())).collect());
        }
        if self.eat("\"") {
            return Tree::Atom(self.quoted().to_owned());
        }
        if self.eat("{") {
            self.until("}", |parser| (parser.value(), parser.eat(": "), parser.value()));
            return Tree::Null;
        }
        if self.eat("(secret)") {
            return Tree::Hidden;
        }
        let word = self.word();
        if self.eat(" { ") {
            let fields = self.until(" }", |parser| {
                // AddPartitionsToTxn's fields for clients have names that set them apart from those for brokers.
                let name = parser.word().replace("v3_and_below_", "").replace("_v3_and_below", "");
                assert!(parser.eat(": "));
                (name, parser.value())
            });
            return Tree::Struct(fields.into_iter().collect());
        }
        if self.eat("(") {
            let mut inner = self.until(")", Parser::value);
            assert_eq!(inner.len(), 1);
            return inner.remove(0);
        }
        match word {
            "None" => Tree::Null,
            uuid if uuid.len() == 36 => Tree::List(hex(uuid).map(|byte| Tree::Atom(byte.to_string())).collect()),
            atom => Tree::Atom(atom.to_owned()),
        }
    }

    fn until<T>(&mut self, end: &str, mut item: impl FnMut(&mut Parser<'a>) -> T) -> Vec<T> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(item(self));
            self.eat(", ");
        }
        items
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        assert!(!word.is_empty(), "no word at {}", self.rest);
        self.rest = rest;
        word
    }

    /// What stands before the closing quote.
    fn quoted(&mut self) -> &'a str {
        let mut escaped = false;
        let end = self.rest.find(|c| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let (text, rest) = self.rest.split_at(end.unwrap());
        self.rest = &rest[1..];
        text
    }

    fn eat(&mut self, token: &str) -> bool {
        self.rest.strip_prefix(token).inspect(|rest| self.rest = rest).is_some()
    }
}

fn unescape(text: &str) -> impl Iterator<Item = u8> {
    let mut bytes = text.bytes();
    std::iter::from_fn(move || match bytes.next()? {
        b'\\' => Some(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        }),
        byte => Some(byte),
    })
}

fn hex(uuid: &str) -> impl Iterator<Item = u8> {
    let digits: Vec<u32> = uuid.chars().filter_map(|c| c.to_digit(16)).collect();
    (0..16).map(move |i| (digits[2 * i] * 16 + digits[2 * i + 1]) as u8)
}
