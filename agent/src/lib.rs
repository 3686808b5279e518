//! The Nexplane host agent: typed operations, journal, enrolment, long-poll.
