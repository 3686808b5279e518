//! The nexplane executable: API, WebSocket, agent gateway, runtime.
