//! The answers of the EC2 Query API: XML, as a tree of elements.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Elements inside each other, at most: EC2 needs eight.
const DEEPEST: usize = 40;

/// One element. Attributes and namespaces mean nothing in these answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    text: String,
    children: Vec<Element>,
}

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    #[error("it is not XML")]
    Syntax(#[from] quick_xml::Error),
    #[error("it is not UTF-8")]
    Encoding(#[from] quick_xml::encoding::EncodingError),
    #[error("it ends in the middle")]
    CutOff,
    #[error("its elements are nested too deeply")]
    TooDeep,
    #[error("it has an unknown entity")]
    Entity,
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl Element {
    /// The root element.
    pub fn parse(text: &str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(text);
        // The first is the parent of the root.
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event()? {
                Event::Start(start) => {
                    if open.len() > DEEPEST {
                        return Err(XmlError::TooDeep);
                    }
                    open.push(Self::named(start.local_name().as_ref()));
                }
                Event::Empty(start) => {
                    let child = Self::named(start.local_name().as_ref());
                    open.last_mut().ok_or(XmlError::CutOff)?.children.push(child);
                }
                Event::End(_) => {
                    let child = open.pop().ok_or(XmlError::CutOff)?;
                    open.last_mut().ok_or(XmlError::CutOff)?.children.push(child);
                }
                Event::Text(part) => {
                    open.last_mut().ok_or(XmlError::CutOff)?.text.push_str(&part.decode()?);
                }
                Event::CData(part) => {
                    open.last_mut().ok_or(XmlError::CutOff)?.text.push_str(&part.decode()?);
                }
                Event::GeneralRef(part) => {
                    let into = &mut open.last_mut().ok_or(XmlError::CutOff)?.text;
                    if let Some(character) = part.resolve_char_ref()? {
                        into.push(character);
                    } else {
                        let name = part.decode()?;
                        let known = quick_xml::escape::resolve_predefined_entity(&name);
                        into.push_str(known.ok_or(XmlError::Entity)?);
                    }
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
                Event::Eof => break,
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(outermost), true) => {
                outermost.children.into_iter().next().ok_or(XmlError::Missing("the root element"))
            }
            _ => Err(XmlError::CutOff),
        }
    }

    fn named(name: &[u8]) -> Self {
        Self { name: String::from_utf8_lossy(name).into_owned(), ..Self::default() }
    }

    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The elements of a list: `<name><item/>…</name>`; none when it is not there.
    pub fn items(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.child(name).into_iter().flat_map(|list| &list.children)
    }

    /// The text of a child; none when it is not there or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.child(name)?.text.trim();
        (!text.is_empty()).then_some(text)
    }

    /// The text of a child that must be there.
    pub fn required(&self, name: &'static str) -> Result<String, XmlError> {
        self.text(name).map(str::to_owned).ok_or(XmlError::Missing(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_lists_and_entities_are_read() {
        let text = "<?xml version=\"1.0\"?><R xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                    <set><item><a>1 &lt; 2 &#38; &amp;</a></item><item/></set><empty/>\
                    <d><![CDATA[<x>]]></d></R>";
        let root = Element::parse(text).unwrap();
        assert_eq!(root.name, "R");
        let items: Vec<_> = root.items("set").map(|item| item.text("a")).collect();
        assert_eq!(items, [Some("1 < 2 & &"), None]);
        assert_eq!((root.text("empty"), root.text("nothing")), (None, None));
        assert_eq!(root.text("d"), Some("<x>"));
        assert!(matches!(root.required("nothing"), Err(XmlError::Missing("nothing"))));
    }

    #[test]
    fn what_is_not_an_answer_is_an_error() {
        for text in ["", "no", "<a>", "<a><b></a>", "<a>&unknown;</a>", &"<a>".repeat(100)] {
            assert!(Element::parse(text).is_err(), "{text:.20}");
        }
    }
}
