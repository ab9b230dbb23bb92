"""The web page: Streamlit over the service's HTTP API alone; it holds no logic of its own."""
