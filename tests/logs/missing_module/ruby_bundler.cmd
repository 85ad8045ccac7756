ruby -e 'require "bundler/setup"'
