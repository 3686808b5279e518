//! Our own icons: sixteen units square, drawn with the text's colour.

use yew::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyph {
    Approvals,
    Assets,
    Audit,
    /// To the one before.
    Back,
    Blocked,
    Calendar,
    Changes,
    Check,
    Chevron,
    Clock,
    Connections,
    Copy,
    Cross,
    Dot,
    Eye,
    Home,
    Hosts,
    Hourglass,
    Info,
    Key,
    Keyboard,
    Lock,
    Menu,
    Moon,
    OneWay,
    Operations,
    Pencil,
    People,
    Play,
    Plus,
    Printer,
    Question,
    Ring,
    /// Bars of a meter, 0 to 4 of them filled.
    Risk(u8),
    Screen,
    Search,
    SignOut,
    Sun,
    Thumb,
    Undo,
    Warning,
}

impl Glyph {
    /// Outlines of the icon; the meter has a drawing of its own.
    const fn path(self) -> &'static str {
        match self {
            Self::Approvals => {
                "M8 1.75 13.25 3.5v4c0 3.2-2.1 5.6-5.25 6.75C4.85 13.1 2.75 10.7 2.75 7.5v-4ZM5.5 7.9l1.8 1.8 3.2-3.4"
            }
            Self::Assets => "M8 1.75 14 5 8 8.25 2 5ZM2 8.25l6 3.25 6-3.25M2 11.25l6 3.25 6-3.25",
            Self::Audit => {
                "M3.25 1.75h7l2.5 2.5v10h-9.5ZM5.75 6.25h4.5M5.75 8.75h4.5M5.75 11.25h2.5"
            }
            Self::Back => "M10 3.5 5.5 8 10 12.5",
            Self::Blocked => {
                "M8 1.75a6.25 6.25 0 1 1 0 12.5 6.25 6.25 0 0 1 0-12.5ZM3.6 3.6l8.8 8.8"
            }
            Self::Calendar => "M2.25 3.25h11.5v10.5H2.25ZM2.25 6.5h11.5M5.25 1.5v3M10.75 1.5v3",
            Self::Changes => "M2 5.25h9.5M8.75 2.25l3 3-3 3M14 10.75H4.5M7.25 7.75l-3 3 3 3",
            Self::Check => "M2.75 8.5 6.25 12l7-8",
            Self::Chevron => "M6 3.5 10.5 8 6 12.5",
            Self::Clock => {
                "M8 1.75a6.25 6.25 0 1 1 0 12.5 6.25 6.25 0 0 1 0-12.5ZM8 4.5V8l2.5 1.75"
            }
            Self::Connections => {
                "M5.5 1.75v3.5M10.5 1.75v3.5M3.25 5.25h9.5v2a4.75 4.75 0 0 1-9.5 0ZM8 12v2.5"
            }
            Self::Copy => "M5.25 5.25h8.5v8.5h-8.5ZM10.75 5V2.25h-8.5v8.5H5",
            Self::Cross => "M3.5 3.5l9 9M12.5 3.5l-9 9",
            Self::Dot => "M8 5.25a2.75 2.75 0 1 1 0 5.5 2.75 2.75 0 0 1 0-5.5Z",
            Self::Eye => {
                "M1.25 8S3.5 3.25 8 3.25 14.75 8 14.75 8 12.5 12.75 8 12.75 1.25 8 1.25 8ZM8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4Z"
            }
            Self::Home => "M2 7.5 8 2.25l6 5.25M3.75 6.25v7.5h8.5v-7.5M6.5 13.5V9.75h3v3.75",
            Self::Hosts => {
                "M2.25 2.25h11.5v4.5H2.25ZM2.25 9.25h11.5v4.5H2.25ZM4.75 4.5h.01M4.75 11.5h.01M7 4.5h4M7 11.5h4"
            }
            Self::Hourglass => {
                "M3.5 1.75h9M3.5 14.25h9M4.5 1.75v2.5L8 8l3.5-3.75v-2.5M4.5 14.25v-2.5L8 8l3.5 3.75v2.5"
            }
            Self::Info => {
                "M8 1.75a6.25 6.25 0 1 1 0 12.5 6.25 6.25 0 0 1 0-12.5ZM8 7.25v3.75M8 4.75v.01"
            }
            Self::Key => "M10.5 2a3.5 3.5 0 1 1-2.9 5.45L2 13v1.25h2.75v-2h2v-2l1.4-1.4M11 4.9v.01",
            Self::Keyboard => {
                "M1.25 3.75h13.5v8.5H1.25ZM4 6.5h.01M6.67 6.5h.01M9.33 6.5h.01M12 6.5h.01M4.5 9.5h7"
            }
            Self::Lock => "M3.25 7.25h9.5v6.5h-9.5ZM5.25 7V4.75a2.75 2.75 0 0 1 5.5 0V7",
            Self::Menu => "M2 4h12M2 8h12M2 12h12",
            Self::Moon => "M13.5 9.75A6 6 0 0 1 6.25 2.5a6 6 0 1 0 7.25 7.25Z",
            Self::OneWay => "M2 8h9.5M8.5 4.5 12 8l-3.5 3.5M14.25 3v10",
            Self::Operations => "M1.25 8.25h3l2-5.5 3.5 10.5 2-5h3",
            Self::Pencil => "M10.75 2.25l3 3-8 8-3.5.5.5-3.5ZM9 4l3 3",
            Self::People => {
                "M6 2.25a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5ZM1.25 13.75c0-2.5 1.9-4.25 4.75-4.25s4.75 1.75 4.75 4.25M10.75 2.5a2.4 2.4 0 0 1 0 4.5M12.25 9.9c1.6.6 2.5 2 2.5 3.85"
            }
            Self::Play => "M4.25 2.5 13 8l-8.75 5.5Z",
            Self::Plus => "M8 2.5v11M2.5 8h11",
            Self::Printer => "M4.5 5.75v-4h7v4M4.5 11.5H2.25V5.75h11.5v5.75H11.5M4.5 9.25h7v5h-7Z",
            Self::Question => {
                "M8 1.75a6.25 6.25 0 1 1 0 12.5 6.25 6.25 0 0 1 0-12.5ZM6.25 6.25A1.8 1.8 0 0 1 8 4.75c1 0 1.8.65 1.8 1.6 0 1.3-1.8 1.4-1.8 2.65M8 11.25v.01"
            }
            Self::Ring => "M8 4.25a3.75 3.75 0 1 1 0 7.5 3.75 3.75 0 0 1 0-7.5Z",
            Self::Risk(_) => "",
            Self::Screen => "M1.75 2.75h12.5v8.5H1.75ZM5.5 14h5M8 11.25V14",
            Self::Search => {
                "M7 2.25a4.75 4.75 0 1 1 0 9.5 4.75 4.75 0 0 1 0-9.5ZM10.5 10.5l3.5 3.5"
            }
            Self::SignOut => "M9.75 2.25h-7v11.5h7M6.5 8h7.75M11.5 5.25 14.25 8l-2.75 2.75",
            Self::Sun => {
                "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1"
            }
            Self::Thumb => {
                "M2.25 7.25h2.5v6.5h-2.5ZM4.75 7.5 7.5 2c1.2 0 1.75.8 1.75 2L9 6.25h3.75c.9 0 1.4.8 1.2 1.6l-1.1 4.6c-.2.8-.8 1.3-1.6 1.3h-6.5"
            }
            Self::Undo => "M2.25 6.25h7.5a3.75 3.75 0 0 1 0 7.5H5M5.5 3l-3.25 3.25L5.5 9.5",
            Self::Warning => "M8 2 14.75 13.75H1.25ZM8 6.5v3.25M8 11.75v.01",
        }
    }

    const fn is_solid(self) -> bool {
        matches!(self, Self::Dot | Self::Play)
    }
}

#[derive(Properties, PartialEq)]
pub struct IconProps {
    pub glyph: Glyph,
}

/// Decoration: what it says is always said in words next to it.
#[component]
pub fn Icon(props: &IconProps) -> Html {
    let glyph = props.glyph;
    let drawing = if let Glyph::Risk(filled) = glyph {
        meter(filled)
    } else {
        let fill = if glyph.is_solid() { "currentColor" } else { "none" };
        html! { <path d={glyph.path()} {fill} /> }
    };
    html! {
        <svg class="icon" viewBox="0 0 16 16" width="16" height="16" fill="none"
            stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"
            aria-hidden="true" focusable="false">
            { drawing }
        </svg>
    }
}

#[derive(Properties, PartialEq)]
pub struct SignProps {
    pub glyph: Glyph,
    /// Of the upper left corner, in the units of the drawing.
    pub x: u32,
    pub y: u32,
}

/// An icon inside of a drawing, twelve units square.
#[component]
pub fn Sign(props: &SignProps) -> Html {
    let SignProps { glyph, x, y } = *props;
    html! {
        <g transform={format!("translate({x} {y}) scale(0.75)")} fill="none" stroke="currentColor"
            stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">
            <path d={glyph.path()} />
        </g>
    }
}

fn meter(filled: u8) -> Html {
    (0..4_u8)
        .map(|bar| {
            let height = 4 + bar * 3;
            let fill = if bar < filled { "currentColor" } else { "none" };
            html! {
                <rect x={(1 + bar * 4).to_string()} y={(14 - height).to_string()} width="2.5"
                    height={height.to_string()} rx="0.75" stroke-width="1" {fill} />
            }
        })
        .collect()
}

/// The sign of the product.
#[component]
pub fn Mark() -> Html {
    html! {
        <svg class="mark" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false">
            <rect x="1" y="1" width="22" height="22" rx="6" fill="currentColor" />
            <path class="mark-line" d="M7 17V7.5l10 9V7" fill="none" stroke-width="2.4"
                stroke-linecap="round" stroke-linejoin="round" />
        </svg>
    }
}
