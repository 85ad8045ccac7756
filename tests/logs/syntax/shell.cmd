sh start.sh
