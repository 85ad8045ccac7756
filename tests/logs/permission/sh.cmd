sh -c ./entrypoint.sh
