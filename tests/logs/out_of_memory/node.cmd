node --max-old-space-size=24 server.js
