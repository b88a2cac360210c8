//! JSON, as far as the table of cases and error templates have it. By hand, so that the crate needs no other and its
//! tests no network.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

impl Json {
    /// Reads a whole text; panics, with the place, where it is no JSON.
    pub fn parse(text: &str) -> Json {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value();
        parser.space();
        assert_eq!(parser.at, text.len(), "one value, and nothing behind it");
        value
    }

    /// The value of a key, None where there is none, or no map.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Map(map) => map.get(key),
            _ => None,
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Json::Text(text) => text,
            other => panic!("expected a text, found {other:?}"),
        }
    }

    pub fn number(&self) -> f64 {
        match self {
            Json::Number(number) => *number,
            other => panic!("expected a number, found {other:?}"),
        }
    }

    pub fn list(&self) -> &[Json] {
        match self {
            Json::List(list) => list,
            other => panic!("expected a list, found {other:?}"),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn next(&mut self) -> char {
        let next = self.rest().chars().next().unwrap_or_else(|| panic!("the text ends at {}", self.at));
        self.at += next.len_utf8();
        next
    }

    /// Skips space and, where it is next, the token.
    fn took(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn need(&mut self, token: &str) {
        assert!(self.took(token), "expected {token} at {}", self.at);
    }

    fn value(&mut self) -> Json {
        if self.took("{") {
            Json::Map(self.several("}", |parser| {
                parser.need("\"");
                let key = parser.string();
                parser.need(":");
                (key, parser.value())
            }))
        } else if self.took("[") {
            Json::List(self.several("]", Parser::value))
        } else if self.took("\"") {
            Json::Text(self.string())
        } else if self.took("null") {
            Json::Null
        } else if self.took("true") {
            Json::Bool(true)
        } else if self.took("false") {
            Json::Bool(false)
        } else {
            let length = self.rest().find(|c| !"+-.eE0123456789".contains(c)).unwrap_or(self.rest().len());
            let number = self.rest()[..length].parse().unwrap_or_else(|_| panic!("no value at {}", self.at));
            self.at += length;
            Json::Number(number)
        }
    }

    fn several<T, C: FromIterator<T>>(&mut self, end: &str, mut one: impl FnMut(&mut Self) -> T) -> C {
        let mut all = Vec::new();
        while !self.took(end) {
            if !all.is_empty() {
                self.need(",");
            }
            all.push(one(self));
        }
        all.into_iter().collect()
    }

    fn string(&mut self) -> String {
        let mut units = Vec::new(); // UTF-16, of which an escape is one
        loop {
            match self.next() {
                '"' => return String::from_utf16(&units).expect("pairs of surrogates"),
                '\\' => {
                    let escaped = match self.next() {
                        'b' => 0x08,
                        'f' => 0x0c,
                        'n' => 0x0a,
                        'r' => 0x0d,
                        't' => 0x09,
                        'u' => {
                            let digits = (0..4).map(|_| self.next()).collect::<String>();
                            u16::from_str_radix(&digits, 16).expect("four hexadecimal digits")
                        }
                        other => other as u16, // a quote or a slash
                    };
                    units.push(escaped);
                }
                other => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
            }
        }
    }
}
